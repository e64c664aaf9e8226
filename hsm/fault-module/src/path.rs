//! Where the built library lies.

use std::path::PathBuf;

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
