//! The program `hrsink`. All of it is in the library's `cli` module.

use std::process::ExitCode;

fn main() -> ExitCode {
    hrsink::cli::main()
}
