//! The `tillward` command.
fn main() {}
