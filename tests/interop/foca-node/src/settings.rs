//! A configuration as words: `simple`, `lan=N` or `wan=N` first, then `name=value` for each change.
//!
//! Durations are nanoseconds; what is periodic is `NANOSECONDS/MEMBERS`, or `off`.

use std::num::{NonZeroU32, NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

use crate::words::parse;

pub fn change(mut config: Config, words: &[&str]) -> Result<Config, String> {
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "simple" => config = Config::simple(),
            "lan" => config = Config::new_lan(parse::<NonZeroU32>(value)?),
            "wan" => config = Config::new_wan(parse::<NonZeroU32>(value)?),
            "period" => config.probe_period = duration(value)?,
            "rtt" => config.probe_rtt = duration(value)?,
            "helpers" => config.num_indirect_probes = parse::<NonZeroUsize>(value)?,
            "transmissions" => config.max_transmissions = parse::<NonZeroU8>(value)?,
            "suspect" => config.suspect_to_down_after = duration(value)?,
            "remove" => config.remove_down_after = duration(value)?,
            "packet" => config.max_packet_size = parse::<NonZeroUsize>(value)?,
            "notify" => config.notify_down_members = parse(value)?,
            "announce" => config.periodic_announce = periodic(value)?,
            "announce-down" => config.periodic_announce_to_down_members = periodic(value)?,
            "gossip" => config.periodic_gossip = periodic(value)?,
            _ => return Err(format!("no setting: {word}")),
        }
    }
    Ok(config)
}

pub fn text(config: &Config) -> String {
    format!(
        "period={} rtt={} helpers={} transmissions={} suspect={} remove={} packet={} notify={} \
         announce={} announce-down={} gossip={}",
        config.probe_period.as_nanos(),
        config.probe_rtt.as_nanos(),
        config.num_indirect_probes,
        config.max_transmissions,
        config.suspect_to_down_after.as_nanos(),
        config.remove_down_after.as_nanos(),
        config.max_packet_size,
        config.notify_down_members,
        periodic_text(&config.periodic_announce),
        periodic_text(&config.periodic_announce_to_down_members),
        periodic_text(&config.periodic_gossip),
    )
}

fn duration(value: &str) -> Result<Duration, String> {
    Ok(Duration::from_nanos(parse(value)?))
}

fn periodic(value: &str) -> Result<Option<PeriodicParams>, String> {
    if value == "off" {
        return Ok(None);
    }
    let (frequency, members) = value
        .split_once('/')
        .ok_or_else(|| format!("cannot read {value}"))?;
    Ok(Some(PeriodicParams {
        frequency: duration(frequency)?,
        num_members: parse(members)?,
    }))
}

fn periodic_text(params: &Option<PeriodicParams>) -> String {
    match params {
        None => "off".to_string(),
        Some(params) => format!("{}/{}", params.frequency.as_nanos(), params.num_members),
    }
}
