//! Response bodies in their time, and connections that break on request.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use futures_util::{Stream, stream};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::playback::{Action, End, Playback};

/// The socket under a request, so that a reply can end in a reset.
#[derive(Debug, Clone)]
pub(super) struct Connection(Option<Arc<OwnedFd>>);

impl Connected<IncomingStream<'_, TcpListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let socket = stream.io().as_fd().try_clone_to_owned();
        Self(socket.ok().map(Arc::new))
    }
}

impl Connection {
    /// Has the kernel send RST rather than FIN when the connection is closed.
    fn reset_on_close(&self) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)) {
            tracing::warn!(%error, "the connection ends without a reset");
        }
    }
}

/// The playback as a body: an error in it makes the server close the connection.
pub(super) fn play(
    playback: Playback,
    connection: Connection,
    stop: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> {
    let actions = playback.actions.into_iter();
    stream::unfold(Some(actions), move |state| {
        let connection = connection.clone();
        let stop = stop.clone();
        async move {
            let mut actions = state?;
            loop {
                match actions.next() {
                    Some(Action::Send(data) | Action::SendContent(data)) => {
                        return Some((Ok(data), Some(actions)));
                    }
                    Some(Action::Wait(time)) => tokio::select! {
                        biased;
                        () = stop.cancelled() => return Some((Err(stopped()), None)),
                        () = tokio::time::sleep(time) => {}
                    },
                    None if playback.end == End::Regular => return None,
                    None => {
                        // hyper flushes what it has while the body is pending; an error that came
                        // at once would take the last chunks with it.
                        tokio::time::sleep(FLUSH).await;
                        connection.reset_on_close();
                        return Some((Err(io::ErrorKind::ConnectionReset.into()), None));
                    }
                }
            }
        }
    })
}

const FLUSH: Duration = Duration::from_millis(20);

fn stopped() -> io::Error {
    io::Error::other("the scripted model is stopping")
}
