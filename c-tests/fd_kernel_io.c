/* io_uring and POSIX aio do not pass through libc's calls, and get messages all the same. */
#include "check.h"
#include <aio.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static int ring;
static unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
static struct io_uring_sqe *sqes;
static struct io_uring_cqe *cqes;

static void open_ring(void)
{
    struct io_uring_params p;

    memset(&p, 0, sizeof(p));
    ring = (int)syscall(SYS_io_uring_setup, 4, &p);
    if (ring == -1)
        SKIP("io_uring: %s", errno_text(errno));
    char *sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED,
                    ring, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*cqes), PROT_READ | PROT_WRITE,
                    MAP_SHARED, ring, IORING_OFF_CQ_RING);
    sqes = mmap(NULL, p.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
                IORING_OFF_SQES);
    CHECK(sq != MAP_FAILED && cq != MAP_FAILED && sqes != MAP_FAILED);
    sq_tail = (unsigned *)(sq + p.sq_off.tail), sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    sq_array = (unsigned *)(sq + p.sq_off.array);
    cq_head = (unsigned *)(cq + p.cq_off.head), cq_tail = (unsigned *)(cq + p.cq_off.tail);
    cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static void submit(int opcode, int fd, void *buffer, unsigned len)
{
    unsigned at = *sq_tail & *sq_mask;
    struct io_uring_sqe *sqe = &sqes[at];

    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = (uint8_t)opcode;
    sqe->fd = fd;
    sqe->addr = (uintptr_t)buffer;
    sqe->len = len;
    if (opcode == IORING_OP_POLL_ADD)
        sqe->poll32_events = POLLIN;
    sq_array[at] = at;
    __atomic_store_n(sq_tail, *sq_tail + 1, __ATOMIC_RELEASE);
    EQUAL(syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0), 1);
}

static int result(void)
{
    while (__atomic_load_n(cq_tail, __ATOMIC_ACQUIRE) == *cq_head)
        if (syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) == -1)
            CHECK(errno == EINTR);
    int res = cqes[*cq_head & *cq_mask].res;
    __atomic_store_n(cq_head, *cq_head + 1, __ATOMIC_RELEASE);
    return res;
}

static void wait_for(struct aiocb *control)
{
    const struct aiocb *list[] = {control};

    while (aio_error(control) == EINPROGRESS)
        if (aio_suspend(list, 1, NULL) == -1)
            CHECK(errno == EINTR || errno == EAGAIN);
}

int main(void)
{
    char buffer[4096];
    struct aiocb control;

    begin(30);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "begin");
    int fd = session(rx);
    EXPECT_TEXT(fd, "begin");

    memset(&control, 0, sizeof(control));
    control.aio_fildes = tx;
    control.aio_buf = buffer;
    control.aio_nbytes = 3;
    control.aio_sigevent.sigev_notify = SIGEV_NONE;
    memcpy(buffer, "aio", 3);
    OK(aio_write(&control));
    wait_for(&control);
    EQUAL(aio_return(&control), 3);
    control.aio_fildes = fd;
    control.aio_nbytes = sizeof(buffer);
    memset(buffer, 0, 3);
    OK(aio_read(&control));
    wait_for(&control);
    EQUAL(aio_return(&control), 3);
    EQUAL(memcmp(buffer, "aio", 3), 0);

    open_ring();
    submit(IORING_OP_POLL_ADD, fd, NULL, 0);
    send_text(tx, "uring");
    CHECK(result() & POLLIN);
    submit(IORING_OP_RECV, fd, buffer, sizeof(buffer));
    EQUAL(result(), 5);
    EQUAL(memcmp(buffer, "uring", 5), 0);
    /* Waiting, then data. */
    submit(IORING_OP_RECV, fd, buffer, sizeof(buffer));
    send_text(tx, "later");
    EQUAL(result(), 5);
    EQUAL(memcmp(buffer, "later", 5), 0);
    memcpy(buffer, "sent", 4);
    submit(IORING_OP_SEND, tx, buffer, 4);
    EQUAL(result(), 4);
    EXPECT_TEXT(fd, "sent");
    submit(IORING_OP_ACCEPT, rx, NULL, 0);
    EQUAL(result(), -EINVAL);
    /* A close inside the kernel ends the session. */
    submit(IORING_OP_CLOSE, tx, NULL, 0);
    EQUAL(result(), 0);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    return 0;
}
