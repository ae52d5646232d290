//! The identity: an address, and a bump that tells two lives at one address apart.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The greater bump wins; a renewed identity has the next one, and after the last there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub addr: SocketAddr,
    pub bump: u64,
}

impl foca::Identity for Peer {
    type Addr = SocketAddr;

    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn renew(&self) -> Option<Self> {
        let bump = self.bump.checked_add(1)?;
        Some(Self { bump, ..*self })
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.bump > other.bump
    }
}

/// As text: `127.0.0.1:7946#5` or `[::1]:7946#5`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.addr, self.bump)
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("no identity: {text}");
        let (addr, bump) = text.split_once('#').ok_or_else(wrong)?;
        Ok(Self {
            addr: addr.parse().map_err(|_| wrong())?,
            bump: bump.parse().map_err(|_| wrong())?,
        })
    }
}
