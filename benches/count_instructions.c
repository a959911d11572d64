/* count_instructions.c - a plug-in for QEMU's user emulation: instructions between the system calls that are marks.
 *
 *     qemu-aarch64 -plugin ./count_instructions.so,marks=FILE PROGRAM
 *
 * Writes a line at each getppid(2): how many instructions were executed since the one before.  The declarations are
 * those of version 1 of the plug-in interface (QEMU 4.2 and newer), spelled out because Debian ships no header. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

typedef struct {
    const char *target_name;
    struct { int min, cur; } version;
    int system_emulation;
    struct { int smp_vcpus, max_vcpus; } system;
} qemu_info;

typedef void (*on_translation)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_syscall)(plugin_id, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t);

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *to, uint64_t value);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall);

#define ADD_U64 0              /* enum qemu_plugin_op */
#define GETPPID_AARCH64 173    /* asm-generic/unistd.h */
#define GETPPID_ARM 64         /* arch/arm/tools/syscall.tbl */

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t executed, at_last_mark;
static int64_t mark;
static FILE *marks;

static void count_block(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void look_for_mark(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                          uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != mark) return;
    fprintf(marks, "%" PRIu64 "\n", executed - at_last_mark);
    fflush(marks);
    at_last_mark = executed;
}

__attribute__((visibility("default")))
int qemu_plugin_install(plugin_id id, const qemu_info *info, int count, char **arguments)
{
    if (count != 1 || strncmp(arguments[0], "marks=", 6)) return -1;
    if (!strcmp(info->target_name, "aarch64")) mark = GETPPID_AARCH64;
    else if (!strcmp(info->target_name, "arm")) mark = GETPPID_ARM;
    else return -1;
    marks = fopen(arguments[0] + 6, "w");
    if (!marks) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
    qemu_plugin_register_vcpu_syscall_cb(id, look_for_mark);
    return 0;
}
