//! The model is checked, its mistakes are found, and its runs are journals that the replay accepts.

mod ends;
mod holds;
mod journal;
mod mutants;
mod replay;
mod walks;
