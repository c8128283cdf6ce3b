//! The processor: entry, translation tables, exceptions, registers, copying. All assembly is here, except the
//! hypercall instruction.
#![allow(unsafe_code)]

pub mod cpu;
mod exception;
pub mod mmio;
pub mod mmu;

core::arch::global_asm!(include_str!("entry.s"), options(raw));
core::arch::global_asm!(include_str!("memory.s"), options(raw));
