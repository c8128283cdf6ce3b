@ From the first instruction to Rust.
@
@ The domain builder enters here with the MMU and caches off, in SVC mode with interrupts masked, the
@ device tree's address in r2 (Documentation/arch/arm/booting.rst). Until the caches are on, memory is
@ written only where the translation tables go; their cache lines are invalidated afterwards, because
@ lines that were fetched through another mapping could hide what was written past the caches.

    .syntax unified
    .arch_extension virt
    .arm
    .section .head, "ax", %progbits

    .global _start
_start:
    b       enter
    .fill   8, 4, 0xe1a00000            @ nop, for loaders that enter at 0x20
    .word   0x016f2818                  @ 0x24: zImage magic
    .word   0                           @ 0x28: start: 0, the loader chooses
    .word   __image_size                @ 0x2c: end, from start
    .word   0x04030201                  @ 0x30: little-endian
    .word   0x45454545                  @ 0x34: a table of tags follows
    .word   __table_offset              @ 0x38: where it is, from start

@ Descriptors: ARM ARM (DDI 0406C) B3.5.1; memory types by the TEX remap that is set up below.
    .equ    SECTION_RAM,   0x0001141e   @ Normal, shareable, privileged read-write, never executed
    .equ    PAGE_CODE,     0x0000065e   @ Normal, shareable, read-only, executable
    .equ    PAGE_CONST,    0x0000065f   @ Normal, shareable, read-only, never executed
    .equ    PAGE_DATA,     0x0000045f   @ Normal, shareable, read-write, never executed

    .macro  address register, symbol
    movw    \register, #:lower16:\symbol
    movt    \register, #:upper16:\symbol
    .endm

@ Describes the pages from r1 up to `end`; r0 is where the descriptors go.
    .macro  pages end, attributes
    address r3, \end
    movw    r2, #\attributes
1:  orr     r4, r1, r2
    str     r4, [r0], #4
    add     r1, r1, #0x1000
    cmp     r1, r3
    blo     1b
    .endm

enter:
    cpsid   aif, #0x13
    mrrc    p15, 1, r10, r11, c14       @ CNTVCT: when the guest began
    mov     r9, r2

    adr     r0, _start
    address r1, _start
    cmp     r0, r1
    bne     misplaced

    @ First level: nothing, then RAM, 1 GiB of 1 MiB sections.
    address r8, __translation_table
    mov     r0, r8
    add     r1, r8, #0x1000
    mov     r2, #0
    mov     r3, #0
    mov     r4, #0
    mov     r5, #0
1:  stmia   r0!, {r2-r5}
    cmp     r0, r1
    blo     1b
    address r1, __ram_start
    address r2, SECTION_RAM
    orr     r1, r1, r2
    add     r2, r8, #0x2000
1:  str     r1, [r0], #4
    add     r1, r1, #0x100000
    cmp     r0, r2
    blo     1b

    @ Second level, for the first MiB: code can be executed but not written, data the other way round.
    address r7, __image_table
    mov     r0, r7
    address r1, __ram_start
    pages   _start, PAGE_DATA
    pages   __text_end, PAGE_CODE
    pages   __rodata_end, PAGE_CONST
    pages   __first_mib_end, PAGE_DATA
    orr     r1, r7, #1
    add     r0, r8, #0x1000
    str     r1, [r0]

    dsb
    mov     r0, r7
    add     r1, r8, #0x2000
1:  mcr     p15, 0, r0, c7, c6, 1       @ DCIMVAC
    add     r0, r0, #32                 @ the smallest line of any ARMv7-A core
    cmp     r0, r1
    blo     1b

    mov     r0, #0
    mcr     p15, 0, r0, c7, c5, 0       @ ICIALLU
    mcr     p15, 0, r0, c7, c5, 6       @ BPIALL
    mcr     p15, 0, r0, c8, c7, 0       @ TLBIALL
    mcr     p15, 0, r0, c13, c0, 1      @ CONTEXTIDR
    mov     r0, #0x21                   @ TTBCR: TTBR0 translates the lower 2 GiB, TTBR1 nothing
    mcr     p15, 0, r0, c2, c0, 2
    orr     r0, r8, #0x6a               @ TTBR0: walks inner shareable, write-back write-allocate
    mcr     p15, 0, r0, c2, c0, 0
    mov     r0, #1                      @ DACR: domain 0 obeys the descriptors
    mcr     p15, 0, r0, c3, c0, 0
    address r0, 0x800a8004              @ PRRR: TEX:C:B 7 Normal, inner shareable; 1 Device, shareable
    mcr     p15, 0, r0, c10, c2, 0
    address r0, 0x40004000              @ NMRR: 7 inner and outer write-back, write-allocate
    mcr     p15, 0, r0, c10, c2, 1
    address r0, vectors                 @ VBAR
    mcr     p15, 0, r0, c12, c0, 0
    dsb
    isb

    mrc     p15, 0, r0, c1, c0, 0       @ SCTLR
    address r1, 0x62182002              @ clear TE, AFE, EE, UWXN, WXN, V, A
    bic     r0, r0, r1
    address r1, 0x10001805              @ set TRE, I, Z, C, M
    orr     r0, r0, r1
    mcr     p15, 0, r0, c1, c0, 0
    isb

    address sp, __stack_top
    address r0, __bss_start
    address r1, __bss_end
    mov     r2, #0
    mov     r3, #0
    mov     r4, #0
    mov     r5, #0
1:  cmp     r0, r1
    stmialo r0!, {r2-r5}
    blo     1b

    cpsie   a
    mov     r0, r9
    mov     r2, r10
    mov     r3, r11
    bl      jitsu_rt_start              @ never returns

@ Loaded at an address for which the image was not linked. Nothing can be printed yet.
misplaced:
    mov     r0, #2                      @ SCHEDOP_shutdown
    adr     r1, reason
    mov     r12, #29                    @ sched_op
    hvc     #0xea1
1:  b       1b
reason:
    .word   3                           @ SHUTDOWN_crash

@ Exceptions are never expected: interrupts stay masked and are polled after wfi. Each handler leaves
@ its number, the interrupted state and all registers on the exception stack, then calls Rust in SVC mode.
    .macro  exception number
    address sp, __exception_stack_top
    push    {r0-r12}
    mov     r0, #\number
    b       report
    .endm

    .balign 32
vectors:
    b       undefined                   @ reset, never taken here
    b       undefined
    b       supervisor_call
    b       prefetch_abort
    b       data_abort
    b       undefined                   @ hypervisor trap, never taken here
    b       interrupt
    b       fast_interrupt

undefined:
    exception 0
supervisor_call:
    exception 1
prefetch_abort:
    exception 2
data_abort:
    exception 3
interrupt:
    exception 4
fast_interrupt:
    exception 5

report:
    mov     r1, lr
    mrs     r2, spsr
    mov     r5, sp
    cpsid   aif, #0x13
    mov     r3, sp
    mov     r4, lr
    mov     sp, r5
    push    {r0-r4}                     @ struct Frame
    mov     r0, sp
    bic     sp, sp, #7
    bl      jitsu_rt_exception          @ never returns
