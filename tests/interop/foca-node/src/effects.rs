//! What a node wants done, in the order in which it said so.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use foca::{Notification, Runtime, Timer};

use crate::peer::Peer;
use crate::words::{hex, timer_text};

pub enum Effect {
    Send(Peer, Vec<u8>),
    Notify(String),
    Schedule(Duration, Timer<Peer>),
    /// The handler was handed an item.
    Item(Vec<u8>, Option<Peer>),
}

impl Effect {
    pub fn text(&self) -> String {
        match self {
            Self::Send(to, data) => format!("send {to} {}", hex(data)),
            Self::Notify(what) => format!("notify {what}"),
            Self::Schedule(delay, timer) => {
                format!("timer {} {}", delay.as_nanos(), timer_text(timer))
            }
            Self::Item(data, None) => format!("item {} -", hex(data)),
            Self::Item(data, Some(sender)) => format!("item {} {sender}", hex(data)),
        }
    }
}

/// One list, shared by the runtime and the handler of items, so that their order is seen.
#[derive(Clone, Default)]
pub struct Effects(Rc<RefCell<Vec<Effect>>>);

impl Effects {
    pub fn push(&self, effect: Effect) {
        self.0.borrow_mut().push(effect);
    }

    pub fn take(&self) -> Vec<Effect> {
        std::mem::take(&mut *self.0.borrow_mut())
    }
}

impl Runtime<Peer> for Effects {
    fn notify(&mut self, notification: Notification<'_, Peer>) {
        self.push(Effect::Notify(match notification {
            Notification::MemberUp(id) => format!("up {id}"),
            Notification::MemberDown(id) => format!("down {id}"),
            Notification::Rename(old, new) => format!("rename {old} {new}"),
            Notification::Active => "active".to_string(),
            Notification::Idle => "idle".to_string(),
            Notification::Defunct => "defunct".to_string(),
            Notification::Rejoin(id) => format!("rejoin {id}"),
        }));
    }

    fn send_to(&mut self, to: Peer, data: &[u8]) {
        self.push(Effect::Send(to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Peer>, after: Duration) {
        self.push(Effect::Schedule(after, event));
    }
}
