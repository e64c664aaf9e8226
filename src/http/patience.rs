//! A stream whose peer has to take what is written to it: who asks and never reads would hold a connection, and the answers, for ever.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that fails with [`ErrorKind::TimedOut`] where a write makes no progress for as long as the limit.
pub(super) struct Patience<S> {
    stream: S,
    limit: Duration,
    /// Runs while a write waits for the peer.
    over: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, over: None }
    }

    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.over = None;
            return written;
        }
        let limit = self.limit;
        ready!(self.over.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the peer does not take what is written to it")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // TCP flushes at once whatever waits: only a flush that waits says something.
        if flushed.is_ready() { flushed } else { self.judge(context, flushed) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LIMIT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_peer_that_does_not_read_ends_the_stream() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = Patience::new(ours, LIMIT);
        ours.write_all(&[1; 16]).await.expect("fits");
        assert_eq!(ours.write_all(&[1; 1]).await.expect_err("nobody reads").kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_reads_slowly_but_does_read_keeps_it() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Patience::new(ours, LIMIT);
        let reader = tokio::spawn(async move {
            for _ in 0..6 {
                sleep(LIMIT / 2).await;
                theirs.read_exact(&mut [0; 8]).await.expect("reads");
            }
            theirs
        });
        ours.write_all(&[1; 48]).await.expect("in the end all of it");
        drop(reader.await.expect("joins"));
    }
}
