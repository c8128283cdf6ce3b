@ Entry of an ARM kernel that is shipped unpacked: looks like a zImage to the loader (Xen, bootz, QEMU), but
@ its "decompressor" only copies the kernel to where it has to run. See kernel.rs, which appends the kernel
@ and fills in the words marked so.
@
@ Entered with the MMU and the data cache off, r2 = device tree; r0, r1, r2 go on to the kernel unchanged.
@ Position independent. The copy goes downwards in memory and does not overlap: loaders put a zImage near the
@ end of the first 128 MiB, the kernel goes to the start of RAM.

    .arch armv7-a
    .arm
    .text
_start:
    b       copy
    .org    0x24
    .word   0x016f2818          @ zImage magic
    .word   0                   @ load anywhere
    .word   0                   @ filled in: length of the whole file
    .word   0x04030201          @ little endian
    .org    0x40
ram_mask:
    .word   0                   @ filled in: rounds an address in RAM down to the start of RAM
text_offset:
    .word   0                   @ filled in: where the kernel runs, from the start of RAM
kernel_size:
    .word   0                   @ filled in: bytes, a multiple of 16

copy:
    adr     r3, _start
    ldr     r4, ram_mask
    and     r5, r3, r4
    ldr     r4, text_offset
    add     r5, r5, r4          @ destination
    mov     r12, r5             @ and entry point
    add     r6, r3, #0x100      @ source
    ldr     r7, kernel_size
    add     r7, r7, r5
1:  ldmia   r6!, {r8-r11}
    stmia   r5!, {r8-r11}
    cmp     r5, r7
    blo     1b
    mov     r4, #0
    mcr     p15, 0, r4, c7, c5, 0   @ ICIALLU: the instruction cache may be on
    mcr     p15, 0, r4, c7, c5, 6   @ BPIALL
    dsb
    isb
    bx      r12
    .org    0x100
