//! What the process itself takes, as gauges.

use std::time::Duration;

use metrics::gauge;

/// As often as numbers are put together.
const INTERVAL: Duration = Duration::from_secs(10);

/// Sets the gauges again and again. The names are those that dashboards know.
pub(crate) async fn run() {
    let alloc = gauge!("runtime.alloc_bytes");
    let sys = gauge!("runtime.sys_bytes");
    let tasks = gauge!("runtime.num_goroutines");
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        tasks.set(tokio::runtime::Handle::current().metrics().num_alive_tasks() as f64);
        // Answered from memory; where there is no /proc there are no such numbers.
        let Ok(status) = std::fs::read_to_string("/proc/self/status") else { continue };
        // Heap and stacks, and everything that is resident.
        for (gauge, line) in [(&alloc, "RssAnon:"), (&sys, "VmRSS:")] {
            if let Some(bytes) = bytes(&status, line) {
                gauge.set(bytes);
            }
        }
    }
}

/// A size in `/proc/self/status`, where it stands in kB.
fn bytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u32>().ok().map(|kb| f64::from(kb) * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t       4 kB\nThreads:\t3\n";
        assert_eq!(bytes(status, "VmRSS:"), Some(2_097_152.0));
        assert_eq!(bytes(status, "RssAnon:"), Some(4096.0));
        assert_eq!(bytes(status, "Threads:"), None);
        assert_eq!(bytes(status, "VmSwap:"), None);
    }
}
