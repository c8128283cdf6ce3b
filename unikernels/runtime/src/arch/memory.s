@ Copying and filling memory, eight words at a time: what is sent is copied, and buffers are cleared while the guest boots.
@ The compiler's own library has these too, a word or a byte at a time, as weak symbols.
@
@ Words may be read and written at any address (SCTLR.A is 0), but for several at once, which have to be at multiples of 4.

    .syntax unified
    .arm
    .section .text.memory, "ax", %progbits

    .global memcpy, __aeabi_memcpy, __aeabi_memcpy4, __aeabi_memcpy8
    .type   memcpy, %function
memcpy:
__aeabi_memcpy:
__aeabi_memcpy4:
__aeabi_memcpy8:
    push    {r0, r4-r10, lr}            @ r0: memcpy returns it
    cmp     r2, #32
    blo     4f
1:  tst     r0, #3                      @ bytes, until the destination is at a multiple of 4
    beq     2f
    ldrb    r3, [r1], #1
    strb    r3, [r0], #1
    sub     r2, r2, #1
    b       1b
2:  subs    r2, r2, #32
    blo     4f
    tst     r1, #3
    bne     3f
    .balign 16
5:  ldmia   r1!, {r3-r10}
    stmia   r0!, {r3-r10}
    subs    r2, r2, #32
    bhs     5b
    b       4f
    .balign 16
3:  ldr     r3, [r1], #4
    ldr     r4, [r1], #4
    ldr     r5, [r1], #4
    ldr     r6, [r1], #4
    ldr     r7, [r1], #4
    ldr     r8, [r1], #4
    ldr     r9, [r1], #4
    ldr     r10, [r1], #4
    stmia   r0!, {r3-r10}
    subs    r2, r2, #32
    bhs     3b
4:  and     r2, r2, #31                 @ what is left of 32, also after the subtraction
    subs    r2, r2, #4
    blo     7f
6:  ldr     r3, [r1], #4
    str     r3, [r0], #4
    subs    r2, r2, #4
    bhs     6b
7:  ands    r2, r2, #3
    beq     9f
8:  ldrb    r3, [r1], #1
    strb    r3, [r0], #1
    subs    r2, r2, #1
    bne     8b
9:  pop     {r0, r4-r10, pc}

    .global memset, __aeabi_memset, __aeabi_memset4, __aeabi_memset8
    .global __aeabi_memclr, __aeabi_memclr4, __aeabi_memclr8
    .type   memset, %function
__aeabi_memclr:
__aeabi_memclr4:
__aeabi_memclr8:
    mov     r2, r1
    mov     r1, #0
    b       memset
__aeabi_memset:
__aeabi_memset4:
__aeabi_memset8:
    mov     r3, r1                      @ (place, length, byte) instead of (place, byte, length)
    mov     r1, r2
    mov     r2, r3
memset:
    push    {r0, r4-r10, lr}
    and     r1, r1, #0xff
    orr     r1, r1, r1, lsl #8
    orr     r3, r1, r1, lsl #16
    cmp     r2, #32
    blo     4f
1:  tst     r0, #3
    beq     2f
    strb    r3, [r0], #1
    sub     r2, r2, #1
    b       1b
2:  mov     r4, r3
    mov     r5, r3
    mov     r6, r3
    mov     r7, r3
    mov     r8, r3
    mov     r9, r3
    mov     r10, r3
    subs    r2, r2, #32
    blo     4f
    .balign 16
3:  stmia   r0!, {r3-r10}
    subs    r2, r2, #32
    bhs     3b
4:  and     r2, r2, #31
    subs    r2, r2, #4
    blo     6f
5:  str     r3, [r0], #4
    subs    r2, r2, #4
    bhs     5b
6:  ands    r2, r2, #3
    beq     8f
7:  strb    r3, [r0], #1
    subs    r2, r2, #1
    bne     7b
8:  pop     {r0, r4-r10, pc}
