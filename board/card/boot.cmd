# Boot script of the card: U-Boot finds it as boot.scr in the first partition and runs it.
#
# It takes the system in a/ if all of its files are what a/sums.env says, else the one in b/, and starts Xen with
# it. `cargo xtask image` replaces the words between at signs with the board's facts and wraps the text for U-Boot.
# `help COMMAND` at U-Boot's prompt explains the commands; the shell is hush, where a "function" is a variable
# that `run` runs, and its arguments and results are variables, too.

# Where things go in memory, which begins at 40000000. All numbers are hexadecimal. U-Boot itself uses 43100000
# for this script, moves the device tree right below 4a000000 at the end (bootm_size), and lives at the top.
setenv xen_addr @XEN_ADDRESS@
setenv dtb_addr @DTB_ADDRESS@
setenv kernel_addr @KERNEL_ADDRESS@
setenv initramfs_addr @INITRAMFS_ADDRESS@
setenv scratch_addr @SCRATCH_ADDRESS@

# Set by U-Boot's search for this script; as here when it is run by hand.
test -n "${devtype}" || setenv devtype mmc
test -n "${devnum}" || setenv devnum 0
test -n "${distro_bootpart}" || setenv distro_bootpart 1

# Reads ${slot}/${file} to ${addr}. What is wrong goes into ${fault}; nothing is done once that is set.
setenv read_file '
if test -z "${fault}"; then
    if test -e ${devtype} ${devnum}:${distro_bootpart} ${slot}/${file}; then
        load ${devtype} ${devnum}:${distro_bootpart} ${addr} ${slot}/${file} || setenv fault ${slot}/${file}:damaged
    else
        setenv fault ${slot}/${file}:missing
    fi
fi'

# Reads a file as above and compares it with ${size} and ${crc}, eight digits. `crc32` leaves the sum in memory
# with its most significant byte first, and `itest` reads the least significant first: the digits are reversed.
setenv read_checked '
run read_file
if test -z "${fault}"; then
    if itest 0x${filesize} -ne 0x${size}; then
        echo "   has 0x${filesize} bytes instead of 0x${size}"
        setenv fault ${slot}/${file}:damaged
    else
        crc32 ${addr} ${filesize} ${scratch_addr}
        setexpr reversed sub "(..)(..)(..)(..)" "\\\\4\\\\3\\\\2\\\\1" ${crc}
        if itest.l *${scratch_addr} -ne 0x${reversed}; then
            echo "   has another checksum than ${crc}"
            setenv fault ${slot}/${file}:damaged
        fi
    fi
fi'

# Reads all of ${slot}.
setenv read_slot '
echo "== Reading the system in ${slot}/"
setenv fault
setenv xen_size; setenv dtb_size; setenv kernel_size; setenv initramfs_size
setenv file sums.env; setenv addr ${scratch_addr}; run read_file
if test -z "${fault}"; then
    env import -t ${scratch_addr} ${filesize} xen_size xen_crc dtb_size dtb_crc kernel_size kernel_crc initramfs_size initramfs_crc
    if test -z "${xen_size}" -o -z "${dtb_size}" -o -z "${kernel_size}" -o -z "${initramfs_size}"; then
        setenv fault ${slot}/sums.env:damaged
    fi
fi
setenv file xen; setenv addr ${xen_addr}; setenv size ${xen_size}; setenv crc ${xen_crc}; run read_checked
setenv file dtb; setenv addr ${dtb_addr}; setenv size ${dtb_size}; setenv crc ${dtb_crc}; run read_checked
setenv file kernel; setenv addr ${kernel_addr}; setenv size ${kernel_size}; setenv crc ${kernel_crc}; run read_checked
setenv file initramfs; setenv addr ${initramfs_addr}; setenv size ${initramfs_size}; setenv crc ${initramfs_crc}; run read_checked
if test -n "${fault}"; then
    echo "== ${fault}"
fi
test -z "${fault}"'

# Tells Xen about the system in memory: its own arguments, and a node for each of dom0's two files, as
# docs/misc/arm/device-tree/booting.txt in Xen has it. U-Boot adds memory, PSCI and the MAC address on its own.
setenv describe_system '
fdt addr ${dtb_addr}
fdt resize 2000
fdt set /chosen \\#address-cells <1>
fdt set /chosen \\#size-cells <1>
fdt set /chosen xen,xen-bootargs "@XEN_ARGS@"
fdt mknode /chosen module@${kernel_addr}
fdt set /chosen/module@${kernel_addr} compatible multiboot,kernel multiboot,module
fdt set /chosen/module@${kernel_addr} reg <0x${kernel_addr} 0x${kernel_size}>
fdt set /chosen/module@${kernel_addr} bootargs "${dom0_args}"
fdt mknode /chosen module@${initramfs_addr}
fdt set /chosen/module@${initramfs_addr} compatible multiboot,ramdisk multiboot,module
fdt set /chosen/module@${initramfs_addr} reg <0x${initramfs_addr} 0x${initramfs_size}>'

echo
echo "== jitsu-node on @TITLE@, card in ${devtype} ${devnum}:${distro_bootpart}"
part uuid ${devtype} ${devnum}:${distro_bootpart} card
setenv dom0_args "@DOM0_ARGS@ jitsu.board=@BOARD@ jitsu.card=${card} jitsu.led=@LED@"
setenv slot a
if run read_slot; then
    setenv dom0_args "${dom0_args} jitsu.slot=a"
else
    setenv fallback ${fault}
    setenv slot b
    if run read_slot; then
        echo "== ${fallback}, so this is the second copy of the system"
        setenv dom0_args "${dom0_args} jitsu.slot=b jitsu.fallback=${fallback}"
    fi
fi

# Never back to U-Boot's own search: that would go on to boot from the network. A restart may help when the card
# has a bad contact; whoever is at the console can have the prompt.
if test -n "${fault}"; then
    echo "== Neither copy of the system can be used: ${fallback}, ${fault}"
    echo "== Write the card anew (cargo xtask flash). Restarting in a minute; Ctrl-C stops that."
    sleep 60 && reset
else
    run describe_system
    echo "== Starting Xen, and with it the system in ${slot}/"
    bootz ${xen_addr} - ${dtb_addr}
    echo "== Xen cannot be started. Restarting in a minute; Ctrl-C stops that."
    sleep 60 && reset
fi
