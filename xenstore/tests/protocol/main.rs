//! The store, spoken to in its protocol: what clients may rely on.

mod client;
mod connections;
mod malformed;
mod nodes;
mod permissions;
mod quotas;
mod settings;
mod toolstack;
mod transactions;
mod watches;
