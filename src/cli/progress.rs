//! What is being done just now, for a person who waits: on standard error, only if that is a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;

/// An answer that comes sooner needs no sign that one waits for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// A turning sign with room for a word. Hidden where nobody looks, and for machines.
pub(super) fn spinner(json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Waits for `work`, and says `what` is waited for if it takes longer.
pub(super) async fn during<T>(json: bool, what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
        return done;
    }
    let bar = spinner(json);
    bar.set_message(what.to_owned());
    let done = work.await;
    bar.finish_and_clear();
    done
}
