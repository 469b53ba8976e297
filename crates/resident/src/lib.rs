//! Gives the pages of the program's own code back to the system.
//!
//! What runs once, at the start, stays resident as long as nobody else wants the memory: configuration, first
//! join, first election, with all that the kernel maps around each page that is touched. In an agent at rest that
//! is half of its resident memory. Code that is given back is found again in the page cache, sixteen pages for
//! a minor fault, so only what an agent really goes on using comes back.

#[cfg(target_os = "linux")]
mod maps;

/// Unmaps the resident pages of all executable mappings of files: of the program and its shared libraries.
/// Gives how many bytes of address space those mappings have. Elsewhere than on Linux this does nothing.
///
/// # Errors
/// When the system does not tell the mappings (`/proc` is not mounted) or refuses the advice; then everything
/// is as it was.
#[cfg(target_os = "linux")]
pub fn release_code() -> std::io::Result<usize> {
    let listed = std::fs::read_to_string("/proc/self/maps")?;
    let mut bytes = 0;
    for range in listed.lines().filter_map(maps::code) {
        release(range)?;
        bytes += range.bytes;
    }
    Ok(bytes)
}

#[cfg(not(target_os = "linux"))]
#[allow(clippy::missing_errors_doc, clippy::unnecessary_wraps)]
pub fn release_code() -> std::io::Result<usize> {
    Ok(0)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn release(range: maps::Range) -> std::io::Result<()> {
    use nix::sys::mman::{MmapAdvise, madvise};
    let Some(start) = std::ptr::NonNull::new(std::ptr::without_provenance_mut(range.start)) else {
        return Ok(());
    };
    // SAFETY: MADV_DONTNEED on a private mapping of a file makes the next access read the file again. The kernel
    // itself listed this one as executable and not writable, and position independent code has no relocations
    // in such segments, so its pages are the file's. (What a debugger wrote there, breakpoints, would be lost.)
    // A range that was unmapped meanwhile is an error (ENOMEM); for something else to be mapped at its place
    // another thread would have to unload a library, which nothing here does.
    unsafe { madvise(start, range.bytes, MmapAdvise::MADV_DONTNEED) }.map_err(std::io::Error::from)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    /// Resident kilobytes of files mapped.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status.lines().find(|l| l.starts_with("RssFile:")).expect("RssFile");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
    }

    #[test]
    fn code_is_given_back_and_runs_on() {
        let before = resident();
        let bytes = super::release_code().expect("released");
        let after = resident();
        assert!(bytes > 0);
        assert!(after < before, "{before} kB before, {after} kB after");
        // And again, from several threads that need their code at once.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope
                    .spawn(|| (0..50).for_each(|_| assert_eq!(super::release_code().expect("again"), bytes)));
            }
        });
    }
}
