//! Nodes without sockets and clocks, driven line by line.
//!
//! ```text
//! NODE new ID CODEC [seed=N] [items=on|even] [SETTING...]
//! NODE VERB [WORD...]                       the verbs are in `node`
//! codec CODEC encode-member MEMBER          codec CODEC decode-member HEX
//! codec CODEC encode-header SRC INCARNATION DST MESSAGE...     codec CODEC decode-header HEX
//! settings [SETTING...]                     what a preset and changes to it come to
//! sort TIMER ; TIMER ; ...                  the same timers in the crate's order
//! ```
//!
//! Each line is answered by one line for each effect, in order, then for a node by its `status`,
//! then by `ok`, `error`, `panic` or `wrong`. What decodes says what it read, and how many bytes
//! it has left.

use std::collections::HashMap;
use std::io::{stdin, stdout, BufRead, BufWriter, Write};

use foca::{Codec, Config, Header, PostcardCodec};

use crate::node::{Node, Outcome, BINCODE};
use crate::peer::Peer;
use crate::settings;
use crate::words::{
    hex, member, member_text, message, message_text, parse, timer, timer_text, unhex,
};

pub fn run() -> Result<(), String> {
    std::panic::set_hook(Box::new(|_| {})); // a panic is an answer here
    let mut nodes = HashMap::new();
    let mut out = BufWriter::new(stdout().lock());
    for line in stdin().lock().lines() {
        let line = line.map_err(|fault| fault.to_string())?;
        let words: Vec<&str> = line.split_whitespace().collect();
        answer(&mut nodes, &words, &mut out).map_err(|fault| fault.to_string())?;
        out.flush().map_err(|fault| fault.to_string())?;
    }
    Ok(())
}

fn answer(
    nodes: &mut HashMap<String, Node>,
    words: &[&str],
    out: &mut impl Write,
) -> std::io::Result<()> {
    let said = match words {
        ["codec", "bincode", rest @ ..] => plain(code(BINCODE, rest)),
        ["codec", "postcard", rest @ ..] => plain(code(PostcardCodec, rest)),
        ["settings", changes @ ..] => {
            plain(settings::change(Config::simple(), changes).map(|config| settings::text(&config)))
        }
        ["sort", rest @ ..] => plain(sort(rest)),
        [name, "new", rest @ ..] => plain(Node::new(rest).map(|node| {
            nodes.insert((*name).to_string(), node);
            String::new()
        })),
        [name, rest @ ..] => match nodes.get_mut(*name) {
            None => format!("wrong no node: {name}"),
            Some(node) => {
                let said = node.obey(rest);
                for effect in node.effects.take() {
                    writeln!(out, "{}", effect.text())?;
                }
                writeln!(out, "status {}", node.status())?;
                said
            }
        },
        [] => "wrong an empty line".to_string(),
    };
    writeln!(out, "{said}")
}

fn sort(words: &[&str]) -> Outcome {
    let mut timers = words
        .split(|word| *word == ";")
        .map(timer)
        .collect::<Result<Vec<_>, _>>()?;
    timers.sort();
    Ok(timers
        .iter()
        .map(timer_text)
        .collect::<Vec<_>>()
        .join(" ; "))
}

fn plain(outcome: Outcome) -> String {
    match outcome {
        Ok(said) => format!("ok {said}"),
        Err(fault) => format!("wrong {fault}"),
    }
}

fn code<C>(mut codec: C, words: &[&str]) -> Outcome
where
    C: Codec<Peer>,
    C::Error: std::fmt::Display,
{
    let mut bytes = Vec::new();
    let refused = |fault: C::Error| format!("refused: {fault}").replace('\n', " ");
    match words {
        ["encode-member", text] => {
            codec
                .encode_member(&member(text)?, &mut bytes)
                .map_err(refused)?;
            Ok(hex(&bytes))
        }
        ["encode-header", src, incarnation, dst, rest @ ..] => {
            let header = Header {
                src: src.parse()?,
                src_incarnation: parse(incarnation)?,
                dst: dst.parse()?,
                message: message(rest)?,
            };
            codec.encode_header(&header, &mut bytes).map_err(refused)?;
            Ok(hex(&bytes))
        }
        ["decode-member", data] => {
            let data = unhex(data)?;
            let mut left = &data[..];
            let found = codec.decode_member(&mut left).map_err(refused)?;
            Ok(format!("{} {}", member_text(&found), left.len()))
        }
        ["decode-header", data] => {
            let data = unhex(data)?;
            let mut left = &data[..];
            let found = codec.decode_header(&mut left).map_err(refused)?;
            let Header {
                src,
                src_incarnation,
                dst,
                message,
            } = found;
            let message = message_text(&message);
            Ok(format!(
                "{src} {src_incarnation} {dst} {message} {}",
                left.len()
            ))
        }
        _ => Err(format!("no such work for a codec: {}", words.join(" "))),
    }
}
