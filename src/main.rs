//! The program `hrsink`. All of it is in the library's module `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hrsink::main()
}
