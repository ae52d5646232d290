//! Words of a line, and what they stand for.

use std::fmt::Write;
use std::str::FromStr;

use foca::{Member, Message, State, Timer};

use crate::peer::Peer;

pub fn parse<V: FromStr>(word: &str) -> Result<V, String> {
    word.parse().map_err(|_| format!("cannot read {word}"))
}

pub fn hex(data: &[u8]) -> String {
    let mut text = String::with_capacity(2 * data.len() + 1);
    for byte in data {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    if text.is_empty() {
        text.push('-'); // a word of its own, so that no line ends in nothing
    }
    text
}

pub fn unhex(word: &str) -> Result<Vec<u8>, String> {
    if word == "-" {
        return Ok(Vec::new());
    }
    let wrong = || "no hexadecimal digits".to_string();
    if word.len() % 2 != 0 || !word.is_ascii() {
        return Err(wrong());
    }
    (0..word.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&word[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

/// A member: `ID/INCARNATION/STATE`, where the state is one of a, s and d.
pub fn member(word: &str) -> Result<Member<Peer>, String> {
    let wrong = || format!("no member: {word}");
    let mut parts = word.split('/');
    let (Some(id), Some(incarnation), Some(state), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let state = match state {
        "a" => State::Alive,
        "s" => State::Suspect,
        "d" => State::Down,
        _ => return Err(wrong()),
    };
    Ok(Member::new(id.parse()?, parse(incarnation)?, state))
}

pub fn member_text(member: &Member<Peer>) -> String {
    let state = match member.state() {
        State::Alive => "a",
        State::Suspect => "s",
        State::Down => "d",
    };
    format!("{}/{}/{state}", member.id(), member.incarnation())
}

/// A message: its name, then an identity if it has one, then its number if it has one.
pub fn message(words: &[&str]) -> Result<Message<Peer>, String> {
    Ok(match words {
        ["ping", n] => Message::Ping(parse(n)?),
        ["ack", n] => Message::Ack(parse(n)?),
        ["ping-req", id, n] => Message::PingReq {
            target: id.parse()?,
            probe_number: parse(n)?,
        },
        ["indirect-ping", id, n] => Message::IndirectPing {
            origin: id.parse()?,
            probe_number: parse(n)?,
        },
        ["indirect-ack", id, n] => Message::IndirectAck {
            target: id.parse()?,
            probe_number: parse(n)?,
        },
        ["forwarded-ack", id, n] => Message::ForwardedAck {
            origin: id.parse()?,
            probe_number: parse(n)?,
        },
        ["announce"] => Message::Announce,
        ["feed"] => Message::Feed,
        ["gossip"] => Message::Gossip,
        ["broadcast"] => Message::Broadcast,
        ["turn-undead"] => Message::TurnUndead,
        _ => return Err(format!("no message: {}", words.join(" "))),
    })
}

pub fn message_text(message: &Message<Peer>) -> String {
    match message {
        Message::Ping(n) => format!("ping {n}"),
        Message::Ack(n) => format!("ack {n}"),
        Message::PingReq {
            target,
            probe_number,
        } => format!("ping-req {target} {probe_number}"),
        Message::IndirectPing {
            origin,
            probe_number,
        } => {
            format!("indirect-ping {origin} {probe_number}")
        }
        Message::IndirectAck {
            target,
            probe_number,
        } => {
            format!("indirect-ack {target} {probe_number}")
        }
        Message::ForwardedAck {
            origin,
            probe_number,
        } => {
            format!("forwarded-ack {origin} {probe_number}")
        }
        Message::Announce => "announce".to_string(),
        Message::Feed => "feed".to_string(),
        Message::Gossip => "gossip".to_string(),
        Message::Broadcast => "broadcast".to_string(),
        Message::TurnUndead => "turn-undead".to_string(),
    }
}

/// A timer, by its name and what it carries.
pub fn timer(words: &[&str]) -> Result<Timer<Peer>, String> {
    Ok(match words {
        ["probe", token] => Timer::ProbeRandomMember(parse(token)?),
        ["indirect", id, token] => Timer::SendIndirectProbe {
            probed_id: id.parse()?,
            token: parse(token)?,
        },
        ["down", id, incarnation, token] => Timer::ChangeSuspectToDown {
            member_id: id.parse()?,
            incarnation: parse(incarnation)?,
            token: parse(token)?,
        },
        ["announce", token] => Timer::PeriodicAnnounce(parse(token)?),
        ["announce-down", token] => Timer::PeriodicAnnounceDown(parse(token)?),
        ["gossip", token] => Timer::PeriodicGossip(parse(token)?),
        ["remove", id] => Timer::RemoveDown(id.parse()?),
        _ => return Err(format!("no timer: {}", words.join(" "))),
    })
}

pub fn timer_text(timer: &Timer<Peer>) -> String {
    match timer {
        Timer::ProbeRandomMember(token) => format!("probe {token}"),
        Timer::SendIndirectProbe { probed_id, token } => format!("indirect {probed_id} {token}"),
        Timer::ChangeSuspectToDown {
            member_id,
            incarnation,
            token,
        } => {
            format!("down {member_id} {incarnation} {token}")
        }
        Timer::PeriodicAnnounce(token) => format!("announce {token}"),
        Timer::PeriodicAnnounceDown(token) => format!("announce-down {token}"),
        Timer::PeriodicGossip(token) => format!("gossip {token}"),
        Timer::RemoveDown(id) => format!("remove {id}"),
    }
}
