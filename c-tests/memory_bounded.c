/*
 * With little PGM_MEMORY, a hundred sessions that nobody reads do not disturb one that is read, nor does a message of a
 * gigabyte, which is refused. (That the memory is kept to is seen in the simulations.)
 */
/* c-tests: time=200 */
#include "check.h"

#include <sys/mman.h>
#include <sys/wait.h>

enum { FULL = 100, EACH = 1 << 19, PART = 16 << 10, MESSAGES = 100, SIZE = 1000 };

static const size_t GIGABYTE = (size_t)1 << 30;

/* A hundred senders, each half a megabyte: says when all is sent, and ends when the other pipe does. */
static int send_much(int done, int until)
{
    static char message[PART];
    char octet;

    setenv("PGM_WINDOW", "2M", 1);
    setenv("PGM_LINGER", "off", 1);
    setenv("PGM_RATE", "1600k", 1);
    int senders[FULL];
    for (int i = 0; i < FULL; i++)
        senders[i] = sender(0);
    for (int sent = 0; sent < EACH; sent += PART)
        for (int i = 0; i < FULL; i++)
            EQUAL(send(senders[i], message, PART, 0), PART);
    sleep_ms(4000); /* what waits in pairs and queues is on its way then */
    EQUAL(write(done, "x", 1), 1);
    EQUAL(read(until, &octet, 1), 0);
    return 0;
}

int main(void)
{
    static char message[SIZE], buffer[SIZE + 1];
    int done[2], until[2], status;

    begin(180);
    OK(pipe(done));
    OK(pipe(until));
    setenv("PGM_MEMORY", "16M", 1);
    pid_t child = fork();
    OK(child);
    if (child == 0) {
        OK(close(until[1]));
        sleep_ms(500); /* the listeners are there then */
        return send_much(done[1], until[0]);
    }
    OK(close(until[0]));
    int full = listener(0), rx = listener(1), tx = sender(1);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");

    struct pollfd all = {done[0], POLLIN, 0};
    for (int i = 0; i < MESSAGES || poll(&all, 1, 0) == 0; i++) {
        fill(message, SIZE, (uint32_t)i);
        EQUAL(send(tx, message, SIZE, 0), SIZE);
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), SIZE);
        if (!matches(buffer, SIZE, (uint32_t)i, 0))
            FAIL("message %d is wrong", i);
        sleep_ms(20);
    }

    void *huge = mmap(NULL, GIGABYTE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(huge != MAP_FAILED);
    FAILS(send(tx, huge, GIGABYTE, 0), EMSGSIZE);
    send_text(tx, "after");
    EXPECT_TEXT(fd, "after");

    OK(close(until[1]));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(close(full));
    return 0;
}
