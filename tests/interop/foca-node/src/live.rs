//! One node on UDP: `live ID CODEC [join=ID] [SETTING...]`, where port 0 is any port.
//!
//! It prints `ready ID`, then each notification as `notify ...` and each fault as `fault ...`. It
//! obeys the driver's verbs on stdin, each answered by `ok`, `error`, `panic` or `wrong`, and goes
//! with `quit`, or without a word at the end of its input.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{stdin, stdout, BufRead, ErrorKind, Write};
use std::net::UdpSocket;
use std::sync::mpsc::{channel, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use foca::Timer;

use crate::effects::Effect;
use crate::node::Node;
use crate::peer::Peer;
use crate::words::timer_text;

/// How long a word on stdin may wait.
const ATTENTION: Duration = Duration::from_millis(10);

struct Live {
    node: Node,
    socket: UdpSocket,
    /// The crate's own order of timers decides between those that are due together.
    timers: BinaryHeap<Reverse<(Instant, Timer<Peer>)>>,
}

pub fn run(words: &[&str]) -> Result<(), String> {
    let [id, codec, rest @ ..] = words else {
        return Err("a node needs an identity and a codec".to_string());
    };
    let mut id: Peer = id.parse()?;
    let socket = UdpSocket::bind(id.addr).map_err(|fault| fault.to_string())?;
    id.addr = socket.local_addr().map_err(|fault| fault.to_string())?;
    let id = id.to_string();
    let mut settings = vec![id.as_str(), codec];
    let mut join = None;
    for word in rest {
        match word.split_once('=') {
            Some(("join", value)) => join = Some(value),
            _ => settings.push(word),
        }
    }
    let mut live = Live {
        node: Node::new(&settings)?,
        socket,
        timers: BinaryHeap::new(),
    };
    say(&format!("ready {id}"))?;
    if let Some(seed) = join {
        live.obey(&["announce", seed])?;
    }
    live.serve(&commands())
}

fn say(line: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|fault| fault.to_string())
}

fn commands() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Live {
    fn serve(&mut self, commands: &Receiver<String>) -> Result<(), String> {
        let mut buffer = vec![0; 65_536];
        loop {
            loop {
                match commands.try_recv() {
                    Ok(line) if line.trim() == "quit" => return Ok(()),
                    Ok(line) => {
                        let words: Vec<&str> = line.split_whitespace().collect();
                        let said = self.obey(&words)?;
                        say(&said)?;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            self.fire()?;
            self.socket
                .set_read_timeout(Some(self.patience()))
                .map_err(|fault| fault.to_string())?;
            match self.socket.recv_from(&mut buffer) {
                Ok((size, _)) => {
                    let fault = self.node.receive(&buffer[..size]);
                    if !fault.is_empty() {
                        say(&format!("fault {fault}"))?;
                    }
                    self.perform()?;
                }
                // A peer whose socket is gone is what these tests are about.
                Err(fault) if fault.kind() == ErrorKind::ConnectionRefused => {}
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => {}
                Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault.to_string()),
            }
        }
    }

    fn patience(&self) -> Duration {
        let due = self.timers.peek().map(|Reverse((due, _))| *due);
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        left.unwrap_or(ATTENTION)
            .clamp(Duration::from_micros(100), ATTENTION)
    }

    fn fire(&mut self) -> Result<(), String> {
        while let Some(Reverse((due, _))) = self.timers.peek() {
            if *due > Instant::now() {
                return Ok(());
            }
            let Some(Reverse((_, timer))) = self.timers.pop() else {
                return Ok(());
            };
            let text = timer_text(&timer);
            let mut words = vec!["timer"];
            words.extend(text.split(' '));
            let said = self.obey(&words)?;
            if said != "ok" {
                say(&format!("fault {said}"))?;
            }
        }
        Ok(())
    }

    fn obey(&mut self, words: &[&str]) -> Result<String, String> {
        let said = self.node.obey(words);
        self.perform()?;
        Ok(said)
    }

    fn perform(&mut self) -> Result<(), String> {
        for effect in self.node.effects.take() {
            match effect {
                Effect::Send(to, data) => {
                    let _ = self.socket.send_to(&data, to.addr); // as good as lost on the way
                }
                Effect::Schedule(delay, timer) => {
                    self.timers.push(Reverse((Instant::now() + delay, timer)));
                }
                told @ (Effect::Notify(_) | Effect::Item(..)) => say(&told.text())?,
            }
        }
        Ok(())
    }
}
