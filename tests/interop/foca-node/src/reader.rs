//! How long the crate takes for packets: `foca-node read ID MEMBERS`, for a network of so many.
//!
//! Lines on stdin: `known ID/INCARNATION/STATE` for members that it knows from the beginning,
//! `settle HEX` for packets that it reads before, `packet HEX` for those that are timed. At the end
//! of them it says how many nanoseconds the last took, and how many members it knows then.

use std::io::BufRead;
use std::time::{Duration, Instant};

use foca::{Config, Foca, Member, NoCustomBroadcast, Notification, PostcardCodec, Runtime, Timer};
use rand::rngs::SmallRng;
use rand::SeedableRng;

use crate::peer::Peer;
use crate::words::{member, parse, unhex};

/// A runtime that forgets what it is told.
struct Nowhere;

impl Runtime<Peer> for Nowhere {
    fn notify(&mut self, _: Notification<'_, Peer>) {}
    fn send_to(&mut self, _: Peer, _: &[u8]) {}
    fn submit_after(&mut self, _: Timer<Peer>, _: Duration) {}
}

pub fn run(words: &[&str]) -> Result<(), String> {
    let [id, members] = words else {
        return Err("who reads needs an identity and a number of members".to_string());
    };
    let (mut known, mut settling, mut packets) = (Vec::<Member<Peer>>::new(), Vec::new(), Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|fault| fault.to_string())?;
        match line.split_once(' ') {
            Some(("known", word)) => known.push(member(word)?),
            Some(("settle", word)) => settling.push(unhex(word)?),
            Some(("packet", word)) => packets.push(unhex(word)?),
            _ => return Err(format!("no line: {line}")),
        }
    }
    let mut foca = Foca::with_custom_broadcast(
        id.parse::<Peer>()?,
        Config::new_lan(parse(members)?),
        SmallRng::seed_from_u64(1),
        PostcardCodec,
        NoCustomBroadcast,
    );
    let refused = |fault: foca::Error| fault.to_string();
    foca.apply_many(known.into_iter(), false, &mut Nowhere)
        .map_err(refused)?;
    for packet in &settling {
        foca.handle_data(packet, &mut Nowhere).map_err(refused)?;
    }
    let began = Instant::now();
    for packet in &packets {
        foca.handle_data(packet, &mut Nowhere).map_err(refused)?;
    }
    let took = began.elapsed();
    println!("{} {}", took.as_nanos(), foca.num_members());
    Ok(())
}
