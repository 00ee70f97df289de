//! The `seatrial` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    seatrial::cli::main()
}
