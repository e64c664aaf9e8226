//! Marks the library as never unloaded: the thread behind the control socket runs its code after the client has closed it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
