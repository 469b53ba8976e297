//! How programs that were run failed, in the words that users find in check outputs and logs.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// Why a program could not be started: `fork/exec /x: no such file or directory`, or
/// `exec: "x": executable file not found in $PATH` for a name without a path.
#[must_use]
pub fn not_started(program: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound && !program.contains('/') {
        return format!("exec: {program:?}: executable file not found in $PATH");
    }
    let text = error.to_string();
    // The system's text stands before its number.
    let why = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    format!("fork/exec {program}: {why}")
}

/// How a program ended: `exit status 3`, `signal: killed`.
#[must_use]
pub fn ended(status: ExitStatus) -> String {
    if let Some(code) = status.code() {
        return format!("exit status {code}");
    }
    let signal = status.signal().unwrap_or_default();
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => "",
    };
    let dumped = if status.core_dumped() { " (core dumped)" } else { "" };
    if name.is_empty() {
        format!("signal: signal {signal}{dumped}")
    } else {
        format!("signal: {name}{dumped}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_do_not_start() {
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(not_started("/no/such", &missing), "fork/exec /no/such: no such file or directory");
        assert_eq!(not_started("nosuch", &missing), "exec: \"nosuch\": executable file not found in $PATH");
        let forbidden = io::Error::from_raw_os_error(13);
        assert_eq!(not_started("/etc/passwd", &forbidden), "fork/exec /etc/passwd: permission denied");
    }

    #[test]
    fn ends() {
        assert_eq!(ended(ExitStatus::from_raw(7 << 8)), "exit status 7");
        assert_eq!(ended(ExitStatus::from_raw(9)), "signal: killed");
        assert_eq!(ended(ExitStatus::from_raw(11 | 0x80)), "signal: segmentation fault (core dumped)");
        assert_eq!(ended(ExitStatus::from_raw(40)), "signal: signal 40");
    }
}
