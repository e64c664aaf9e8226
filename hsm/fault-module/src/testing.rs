//! For tests that use the built library.

use std::io;
use std::path::{Path, PathBuf};

use crate::rule::Script;

const NAME: &str = "libtillward_fault_module.so";

/// The library that cargo built together with the test that asks: beside the test's executable or in the folder above. A package whose tests
/// need it names this crate in its dev-dependencies.
///
/// # Panics
/// If there is none.
pub fn library_path() -> PathBuf {
    let executable = std::env::current_exe().expect("the executable of the test has a path");
    let found = executable.ancestors().skip(1).take(2).map(|folder| folder.join(NAME)).find(|path| path.exists());
    found.expect("libtillward_fault_module.so lies beside the test: `cargo build -p tillward-fault-module` makes it")
}

/// Replaces a script as one act, so that no process reads half of it. One that would be refused is not written.
///
/// # Errors
/// The script is not understood, or the file cannot be written.
pub fn write_script(path: &Path, text: &str) -> io::Result<()> {
    Script::parse(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_would_be_refused_leaves_the_old_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("script");
        write_script(&path, "C_Sign hang").expect("writes");
        assert_eq!(write_script(&path, "C_Sing hang").expect_err("is misspelt").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "C_Sign hang");
    }
}
