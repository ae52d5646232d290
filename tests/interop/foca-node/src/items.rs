//! A handler of items: each has a key and a version, one byte each, and the higher version wins.

use std::collections::HashMap;
use std::fmt;

use foca::{BroadcastHandler, Invalidates};

use crate::effects::{Effect, Effects};
use crate::peer::Peer;

/// What the application accepts.
pub struct Items {
    pub effects: Effects,
    pub known: HashMap<u8, u8>,
    /// Without it, every item is refused, as it is by a node that was made without a handler.
    pub enabled: bool,
    /// Members at odd ports get no items.
    pub even_ports_only: bool,
}

#[derive(Clone, Debug)]
pub struct Key(u8);

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[derive(Debug)]
pub struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Refused {}

impl BroadcastHandler<Peer> for Items {
    type Key = Key;
    type Error = Refused;

    fn receive_item(&mut self, data: &[u8], sender: Option<&Peer>) -> Result<Option<Key>, Refused> {
        self.effects
            .push(Effect::Item(data.to_vec(), sender.cloned()));
        if !self.enabled {
            return Err(Refused("no items here"));
        }
        let &[key, version, ..] = data else {
            return Err(Refused("an item has a key and a version"));
        };
        match self.known.get(&key) {
            Some(known) if *known >= version => Ok(None),
            _ => {
                self.known.insert(key, version);
                Ok(Some(Key(key)))
            }
        }
    }

    fn should_add_broadcast_data(&self, member: &Peer) -> bool {
        self.enabled && !(self.even_ports_only && member.addr.port() % 2 == 1)
    }
}
