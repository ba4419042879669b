//! Git's smart HTTP over the program's own HTTP client.
//!
//! libgit2 is built without a TLS library: it asks for streams to a service of the server, and they
//! are opened here, with the proxies and the roots that the rest of the program uses.
//!
//! Guarantees: a token goes to the repository's own address only, and only after the server has
//! asked for one; no redirect is followed; nothing is waited for beyond the limits. Blocks.

mod exchange;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{ErrorClass, ErrorCode};
use secrecy::SecretString;

use exchange::{Exchange, Line};

use super::url::Reach;

/// What the addresses that are asked on this thread are asked with.
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    /// For a server that wants to know who asks.
    pub(super) token: Option<SecretString>,
    /// Certificates to trust besides the machine's.
    pub(super) ca_file: Option<PathBuf>,
    /// Where the connection may lead.
    pub(super) reach: Reach,
}

thread_local! {
    // libgit2 makes a transport on the thread that fetches, and hands nothing to it but the address.
    static ACCESS: RefCell<Access> = RefCell::default();
}

/// Does `work`, whose servers are asked with `access`.
pub(super) fn with_access<T>(access: Access, work: impl FnOnce() -> T) -> T {
    /// Also where `work` panics: the next one's server must not be given this one's token.
    struct Restore(Access);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACCESS.replace(std::mem::take(&mut self.0));
        }
    }
    let _restore = Restore(ACCESS.replace(access));
    work()
}

/// A transport for [`git2::transport::register`].
pub(super) fn transport(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let access = ACCESS.with_borrow(Clone::clone);
    let server = Server {
        access,
        line: OnceLock::new(),
        wanted: AtomicBool::new(false),
    };
    Transport::smart(remote, true, server)
}

/// One remote's server.
struct Server {
    access: Access,
    /// Opened by the first request: what a factory says of an error is lost in libgit2.
    line: OnceLock<Arc<Line>>,
    /// Whether the server has asked for the token.
    wanted: AtomicBool,
}

impl SmartSubtransport for Server {
    fn action(
        &self,
        url: &str,
        service: Service,
    ) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let base = url.trim_end_matches('/');
        let (name, listing) = match service {
            Service::UploadPackLs => ("git-upload-pack", true),
            Service::UploadPack => ("git-upload-pack", false),
            Service::ReceivePackLs => ("git-receive-pack", true),
            Service::ReceivePack => ("git-receive-pack", false),
        };
        let line = self.line()?;
        let exchange = if listing {
            self.listing(line, base, name)?
        } else {
            let token = self.known_token();
            Exchange::post(line, base, name, token)
        };
        Ok(Box::new(exchange))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

impl Server {
    fn line(&self) -> Result<Arc<Line>, git2::Error> {
        if let Some(line) = self.line.get() {
            return Ok(Arc::clone(line));
        }
        let opened = Line::open(self.access.ca_file.as_deref(), self.access.reach);
        let line = Arc::new(opened.map_err(|why| failed(ErrorCode::GenericError, &why))?);
        Ok(Arc::clone(self.line.get_or_init(|| line)))
    }

    fn known_token(&self) -> Option<SecretString> {
        self.access
            .token
            .clone()
            .filter(|_| self.wanted.load(Ordering::Relaxed))
    }

    /// What the server has; it may ask who wants to know.
    fn listing(&self, line: Arc<Line>, base: &str, name: &str) -> Result<Exchange, git2::Error> {
        let known = self.known_token();
        let is_first = known.is_none();
        match Exchange::list(Arc::clone(&line), base, name, known) {
            Err(refusal)
                if refusal.is_unauthorized() && is_first && self.access.token.is_some() =>
            {
                self.wanted.store(true, Ordering::Relaxed);
                Exchange::list(line, base, name, self.known_token())
            }
            answer => answer,
        }
        .map_err(exchange::Refusal::into_error)
    }
}

fn failed(code: ErrorCode, message: &str) -> git2::Error {
    git2::Error::new(code, ErrorClass::Http, message)
}
