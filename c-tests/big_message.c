/* 16 MiB in one send arrive in one recv; a message that is read in pieces arrives whole too. */
/* c-tests: variants=asan */
#include "check.h"

enum { SIZE = 16 << 20 };

static void transmit(void *arg)
{
    char *message = malloc(SIZE);
    int *go = arg;

    hear(go[0]);
    int fd = sender(0);
    CHECK(message != NULL);
    fill(message, SIZE, 1);
    EQUAL(send(fd, message, SIZE, 0), SIZE);
    send_text(fd, "between");
    fill(message, SIZE, 2);
    struct iovec parts[2] = {{message, 1000}, {message + 1000, SIZE - 1000}};
    EQUAL(writev(fd, parts, 2), SIZE);
    send_text(fd, "after");
    free(message);
}

int main(void)
{
    int go[2];

    begin(60);
    OK(pipe(go));
    pid_t pid = child(60, transmit, go);
    char *buffer = malloc(SIZE + 1);
    int rx = listener(0);
    tell(go[1]);
    int fd = session(rx);
    EQUAL(recv(fd, buffer, SIZE + 1, 0), SIZE);
    CHECK(matches(buffer, SIZE, 1, 0));
    EXPECT_TEXT(fd, "between");

    size_t got = 0;
    for (int eor = 0; !eor;) {
        struct iovec v = {buffer + got, got + 70001 > SIZE ? SIZE + 1 - got : 70001};
        struct msghdr header = {.msg_iov = &v, .msg_iovlen = 1};
        ssize_t n = recvmsg(fd, &header, 0);
        CHECK(n > 0);
        got += (size_t)n;
        eor = (header.msg_flags & MSG_EOR) != 0;
    }
    EQUAL(got, SIZE);
    CHECK(matches(buffer, SIZE, 2, 0));
    EXPECT_TEXT(fd, "after");
    EQUAL(recv(fd, buffer, 1, 0), 0);
    CHILD_PASSED(pid);
    free(buffer);
    return 0;
}
