//! What `/v1/agent/host` tells of the machine, read from `/proc` and the file system. What a system
//! does not tell is left out and named among the errors.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use http_api::api::types::{CpuInfo, DiskInfo, HostInfo, HostReport, MemoryInfo};
use nix::sys::statvfs::statvfs;
use nix::sys::utsname::uname;

/// Reads everything; `data_dir` names the file system to look at.
pub fn report(data_dir: Option<&Path>) -> HostReport {
    let mut errors = Vec::new();
    let mut take = |what: &str, error: String| errors.push(format!("{what}: {error}"));
    let memory = memory().map_err(|error| take("memory", error)).ok();
    let cpu = cpus().map_err(|error| take("cpu", error)).unwrap_or_default();
    let host = host().map_err(|error| take("host", error)).ok();
    let disk = disk(data_dir.unwrap_or(Path::new("/"))).map_err(|error| take("disk", error)).ok();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    HostReport {
        memory,
        cpu,
        host,
        disk,
        collection_time: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        errors: (!errors.is_empty()).then_some(errors),
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn memory() -> Result<MemoryInfo, String> {
    let text = read("/proc/meminfo")?;
    let bytes = |name: &str| -> u64 {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    };
    let (total, free, buffers) = (bytes("MemTotal"), bytes("MemFree"), bytes("Buffers"));
    let cached = bytes("Cached") + bytes("SReclaimable");
    let used = total.saturating_sub(free + buffers + cached);
    Ok(MemoryInfo {
        total,
        available: bytes("MemAvailable"),
        used,
        used_percent: percent(used, total),
        free,
        buffers,
        cached,
    })
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn cpus() -> Result<Vec<CpuInfo>, String> {
    let text = read("/proc/cpuinfo")?;
    Ok(text.split("\n\n").filter(|block| block.contains("processor")).map(cpu).collect())
}

fn cpu(block: &str) -> CpuInfo {
    let field = |name: &str| -> &str {
        block
            .lines()
            .find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim())
            })
            .unwrap_or_default()
    };
    let number = |name: &str| field(name).parse().unwrap_or(0);
    CpuInfo {
        cpu: number("processor"),
        vendor_id: field("vendor_id").to_owned(),
        family: field("cpu family").to_owned(),
        model: field("model").to_owned(),
        stepping: number("stepping"),
        physical_id: field("physical id").to_owned(),
        core_id: field("core id").to_owned(),
        cores: 1,
        model_name: field("model name").to_owned(),
        mhz: field("cpu MHz").parse().unwrap_or(0.0),
        cache_size: field("cache size").split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0),
        flags: field("flags").split_whitespace().map(str::to_owned).collect(),
        microcode: field("microcode").to_owned(),
    }
}

fn host() -> Result<HostInfo, String> {
    let names = uname().map_err(|error| error.to_string())?;
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    let uptime = read("/proc/uptime")?
        .split('.')
        .next()
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .ok_or("/proc/uptime: no number")?;
    let release = read("/etc/os-release").unwrap_or_default();
    let release = |name: &str| -> String {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
            .unwrap_or_default()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let processes = fs::read_dir("/proc").map_err(|error| error.to_string())?.filter(|entry| {
        entry
            .as_ref()
            .is_ok_and(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
    });
    Ok(HostInfo {
        hostname: text(names.nodename()),
        uptime,
        boot_time: now.saturating_sub(uptime),
        procs: processes.count() as u64,
        os: std::env::consts::OS.to_owned(),
        platform: release("ID"),
        platform_family: release("ID_LIKE"),
        platform_version: release("VERSION_ID"),
        kernel_version: text(names.release()),
        kernel_arch: text(names.machine()),
        virtualization_system: String::new(),
        virtualization_role: String::new(),
        host_id: read("/sys/class/dmi/id/product_uuid")
            .or_else(|_| read("/etc/machine-id"))
            .map(|id| id.trim().to_lowercase())
            .unwrap_or_default(),
    })
}

fn disk(path: &Path) -> Result<DiskInfo, String> {
    let stat = statvfs(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let size = stat.fragment_size();
    let total = stat.blocks() * size;
    let free = stat.blocks_available() * size;
    let used = (stat.blocks() - stat.blocks_free()) * size;
    let (inodes, inodes_free) = (stat.files(), stat.files_free());
    let inodes_used = inodes.saturating_sub(inodes_free);
    Ok(DiskInfo {
        path: path.display().to_string(),
        fstype: String::new(),
        total,
        free,
        used,
        used_percent: percent(used, used + free),
        inodes_total: inodes,
        inodes_used,
        inodes_free,
        inodes_used_percent: percent(inodes_used, inodes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_something() {
        let report = report(None);
        assert!(report.memory.is_some_and(|memory| memory.total > 0));
        assert!(report.disk.is_some_and(|disk| disk.total > 0));
        assert_eq!(report.errors, None);
    }
}
