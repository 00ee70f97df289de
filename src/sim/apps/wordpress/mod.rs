//! WordPress on Apache (prefork, mod_php): the official image's entrypoint and the flows over HTTP.

mod database;
mod entrypoint;
mod forms;
mod message;
mod opcache;
mod pages;
mod rest;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod unmodelled;

pub(super) use server::WordPress;
