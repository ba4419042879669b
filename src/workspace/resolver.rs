//! Looking up names that a stranger chose: an address of this machine or network is none.
//!
//! The connection goes to the very addresses that were looked at, so that a name which changes its
//! mind in between gains nothing. Through a proxy it is the proxy that looks names up, and has to
//! guard the network.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::ClientBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::is_public;
use super::url::Reach;

/// What a client says of a name that leads elsewhere.
pub(super) const REFUSED: &str = "the name does not lead to the public network";

/// A client that connects to where `reach` lets it.
pub(super) fn within(client: ClientBuilder, reach: Reach) -> ClientBuilder {
    match reach {
        Reach::Anywhere => client,
        Reach::Public => client.dns_resolver(Arc::new(PublicOnly)),
    }
}

struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if found.iter().all(|address| is_public(address.ip())) {
                return Ok::<Addrs, _>(Box::new(found.into_iter()));
            }
            Err(REFUSED.into())
        })
    }
}
