//! Long work that must not hold up what others wait for.

use std::io;

use tokio::sync::oneshot;

/// How much the thread gives way to others, as `nice` counts.
const NICE: i32 = 10;

/// Runs `work` on a thread of its own, which yields the processors to the server's other threads.
///
/// # Errors
/// What `work` returns, or that no thread could be had.
pub async fn background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    detached(move || {
        let _ = done.send(work());
    })?;
    result.await.map_err(io::Error::other)?
}

/// As [`background`], for work whose end nobody waits for.
///
/// # Errors
/// That no thread could be had.
pub fn detached(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("snapshot".into()).spawn(move || {
        // On Linux this is the thread's own; refused or not, the work is done.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "a background thread runs like any other");
        }
        work();
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_outcome_comes_back() {
        assert_eq!(background(|| Ok(1)).await.unwrap(), 1);
        let error = background(|| Err::<(), _>(io::ErrorKind::StorageFull.into())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_that_thread_gives_way() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, rest) = stat.rsplit_once(')').unwrap();
            rest.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap()
        };
        let before = nice();
        let there = background(move || Ok(nice())).await.unwrap();
        assert_eq!(there, (before + NICE).min(19));
        assert_eq!(nice(), before);
    }
}
