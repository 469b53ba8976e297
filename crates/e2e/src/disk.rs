//! A small disk that can be filled.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::world::tool;

/// A file system in memory, mounted in this mount namespace until dropped.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one of `bytes` at `path`, which is made if it is not there.
    pub fn mount(path: &Path, bytes: u64) -> Result<Disk, String> {
        fs::create_dir_all(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let path = path.to_owned();
        tool(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={bytes},mode=0755"), "tmpfs", &path.to_string_lossy()],
        )?;
        Ok(Disk { path })
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Leaves no space. What is freed later is free.
    pub fn fill(&self) {
        let mut filler =
            File::options().create(true).append(true).open(self.filler()).expect("a filler file");
        for block in [1 << 20, 4096] {
            let block = vec![0xAA; block];
            loop {
                match filler.write(&block) {
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::StorageFull => break,
                    Err(e) => panic!("{}: {e}", self.filler().display()),
                }
            }
        }
    }

    /// Leaves this much.
    pub fn fill_but(&self, bytes: u64) {
        self.fill();
        let filler = File::options().write(true).open(self.filler()).expect("the filler file");
        let len = filler.metadata().expect("its length").len();
        filler.set_len(len.saturating_sub(bytes)).expect("a shorter filler");
    }

    /// Gives the space back.
    pub fn free(&self) {
        match fs::remove_file(self.filler()) {
            Err(e) if e.kind() != ErrorKind::NotFound => panic!("{}: {e}", self.filler().display()),
            _ => {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: an agent may still write there.
        if let Err(why) = tool("umount", &["-l", &self.path.to_string_lossy()]) {
            eprintln!("{why}");
        }
    }
}
