//! One node, of either codec, and the verbs that it understands.

use std::panic::{catch_unwind, AssertUnwindSafe};

use foca::{BincodeCodec, Codec, Config, Foca, PostcardCodec};
use rand::rngs::SmallRng;
use rand::SeedableRng;

use crate::effects::Effects;
use crate::items::Items;
use crate::peer::Peer;
use crate::settings;
use crate::words::{member, member_text, timer, unhex};

pub type Bincode = BincodeCodec<bincode::config::Configuration>;

pub const BINCODE: Bincode = BincodeCodec(bincode::config::standard());

type Engine<C> = Foca<Peer, C, SmallRng, Items>;

enum Inner {
    Bincode(Engine<Bincode>),
    Postcard(Engine<PostcardCodec>),
}

pub struct Node {
    pub effects: Effects,
    inner: Inner,
    config: Config,
}

/// What came of a verb: what it says, or a fault of the caller, the node or the crate.
pub type Outcome = Result<String, String>;

impl Node {
    /// `ID CODEC [seed=N] [items=on|even] [SETTING...]`
    pub fn new(words: &[&str]) -> Result<Self, String> {
        let [id, codec, rest @ ..] = words else {
            return Err("a node needs an identity and a codec".to_string());
        };
        let (mut seed, mut items, mut changes) = (0, "off", Vec::new());
        for word in rest {
            match word.split_once('=') {
                Some(("seed", value)) => seed = crate::words::parse(value)?,
                Some(("items", value)) => items = value,
                _ => changes.push(*word),
            }
        }
        let config = settings::change(Config::simple(), &changes)?;
        let effects = Effects::default();
        let handler = Items {
            effects: effects.clone(),
            known: Default::default(),
            enabled: items != "off",
            even_ports_only: items == "even",
        };
        let (id, rng) = (id.parse::<Peer>()?, SmallRng::seed_from_u64(seed));
        let own = config.clone();
        let inner = match *codec {
            "bincode" => {
                Inner::Bincode(Foca::with_custom_broadcast(id, own, rng, BINCODE, handler))
            }
            "postcard" => Inner::Postcard(Foca::with_custom_broadcast(
                id,
                own,
                rng,
                PostcardCodec,
                handler,
            )),
            _ => return Err(format!("no codec: {codec}")),
        };
        Ok(Self {
            effects,
            inner,
            config,
        })
    }

    /// Do what one line says: `ok ...`, `error KIND TEXT`, `panic TEXT`, or `wrong TEXT`.
    pub fn obey(&mut self, words: &[&str]) -> String {
        let config = &mut self.config;
        let (inner, effects) = (&mut self.inner, &self.effects);
        let done = catch_unwind(AssertUnwindSafe(|| match inner {
            Inner::Bincode(foca) => obey(foca, config, effects.clone(), words),
            Inner::Postcard(foca) => obey(foca, config, effects.clone(), words),
        }));
        match done {
            Ok(Ok(Ok(said))) if said.is_empty() => "ok".to_string(),
            Ok(Ok(Ok(said))) => format!("ok {said}"),
            Ok(Ok(Err(fault))) => format!("error {}", fault_text(&fault)),
            Ok(Err(wrong)) => format!("wrong {wrong}"),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(ToString::to_string);
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                format!("panic {}", one_line(&text.unwrap_or_default()))
            }
        }
    }

    /// `ID ACTIVE ALL UPDATES ITEMS`: who it is, and how many it knows and has to tell.
    pub fn status(&self) -> String {
        match &self.inner {
            Inner::Bincode(foca) => status(foca),
            Inner::Postcard(foca) => status(foca),
        }
    }

    /// Hand it a datagram, and return what it makes of that.
    pub fn receive(&mut self, data: &[u8]) -> String {
        let effects = self.effects.clone();
        let done = match &mut self.inner {
            Inner::Bincode(foca) => foca.handle_data(data, effects),
            Inner::Postcard(foca) => foca.handle_data(data, effects),
        };
        done.err()
            .map(|fault| fault_text(&fault))
            .unwrap_or_default()
    }
}

fn status<C>(foca: &Engine<C>) -> String
where
    C: Codec<Peer>,
    C::Error: std::error::Error,
{
    format!(
        "{} {} {} {} {}",
        foca.identity(),
        foca.num_members(),
        foca.iter_membership_state().len(),
        foca.updates_backlog(),
        foca.custom_broadcast_backlog(),
    )
}

fn obey<C>(
    foca: &mut Engine<C>,
    config: &mut Config,
    effects: Effects,
    words: &[&str],
) -> Result<Result<String, foca::Error>, String>
where
    C: Codec<Peer>,
    C::Error: std::error::Error,
{
    let nothing = |done: Result<(), foca::Error>| Ok(done.map(|()| String::new()));
    match words {
        ["data", data] => nothing(foca.handle_data(&unhex(data)?, effects)),
        ["timer", rest @ ..] => nothing(foca.handle_timer(timer(rest)?, effects)),
        ["announce", id] => nothing(foca.announce(id.parse()?, effects)),
        ["gossip"] => nothing(foca.gossip(effects)),
        ["broadcast"] => nothing(foca.broadcast(effects)),
        ["leave"] => nothing(foca.leave_cluster(effects)),
        ["change", id] => nothing(foca.change_identity(id.parse()?, effects)),
        ["reuse"] => nothing(foca.reuse_down_identity()),
        ["add", item] => Ok(foca
            .add_broadcast(&unhex(item)?)
            .map(|queued| queued.to_string())),
        ["apply", rest @ ..] => {
            let members = rest
                .iter()
                .map(|word| member(word))
                .collect::<Result<Vec<_>, _>>()?;
            nothing(foca.apply_many(members.into_iter(), true, effects))
        }
        ["apply-quietly", rest @ ..] => {
            let members = rest
                .iter()
                .map(|word| member(word))
                .collect::<Result<Vec<_>, _>>()?;
            nothing(foca.apply_many(members.into_iter(), false, effects))
        }
        ["set", changes @ ..] => {
            let changed = settings::change(config.clone(), changes)?;
            let done = foca.set_config(changed.clone());
            if done.is_ok() {
                *config = changed;
            }
            nothing(done)
        }
        ["settings"] => Ok(Ok(settings::text(config))),
        ["members"] => Ok(Ok(foca
            .iter_members()
            .map(member_text)
            .collect::<Vec<_>>()
            .join(" "))),
        ["state"] => Ok(Ok(foca
            .iter_membership_state()
            .map(member_text)
            .collect::<Vec<_>>()
            .join(" "))),
        _ => Err(format!("no verb: {}", words.join(" "))),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fault_text(fault: &foca::Error) -> String {
    use foca::Error;
    let kind = match fault {
        Error::DataTooBig => "DataTooBig",
        Error::NotUndead => "NotUndead",
        Error::SameIdentity => "SameIdentity",
        Error::NotConnected => "NotConnected",
        Error::IncompleteProbeCycle => "IncompleteProbeCycle",
        Error::DataFromOurselves => "DataFromOurselves",
        Error::IndirectForOurselves => "IndirectForOurselves",
        Error::MalformedPacket => "MalformedPacket",
        Error::Encode(_) => "Encode",
        Error::Decode(_) => "Decode",
        Error::CustomBroadcast(_) => "CustomBroadcast",
        Error::InvalidConfig => "InvalidConfig",
    };
    format!("{kind} {}", one_line(&fault.to_string()))
}
