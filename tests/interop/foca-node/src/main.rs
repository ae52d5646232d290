//! Real foca nodes for the tests of a Python engine that wants to be one.
//!
//! `foca-node driver` holds any number of nodes without sockets or clocks and obeys lines on stdin
//! (see `driver`). `foca-node live ID CODEC SETTING...` is one node on UDP (see `live`).
//! `foca-node read ID MEMBERS` reads packets by the clock (see `reader`).

mod driver;
mod effects;
mod items;
mod live;
mod node;
mod peer;
mod reader;
mod settings;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.split_first() {
        Some((&"driver", [])) => driver::run(),
        Some((&"live", rest)) => live::run(rest),
        Some((&"read", rest)) => reader::run(rest),
        _ => Err("usage: foca-node driver | live ID CODEC [join=ID] [SETTING...] | read ID MEMBERS".to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("foca-node: {fault}");
            ExitCode::FAILURE
        }
    }
}
