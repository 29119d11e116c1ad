/*
 * A sender that ends in the middle of a message with RM_SET_MESSAGE_BOUNDARY: by close, shutdown or
 * exit. Receivers get what was whole and then ECONNRESET; when nothing of the message was sent yet the
 * end is a clean one.
 */
#include "check.h"

static enum way { CLOSE, SHUTDOWN, EXIT, WAYS } way;
static int given;

static void transmit(void *arg)
{
    static char part[100000];
    uint32_t size = 1 << 20;

    hear(*(int *)arg);
    int fd = sender((int)way * 8 + given);
    send_text(fd, "whole");
    OK(setsockopt(fd, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &size, sizeof(size)));
    for (int i = 0; i < given; i++)
        EQUAL(send(fd, part, sizeof(part), 0), sizeof(part));
    if (way == CLOSE)
        OK(close(fd));
    if (way == SHUTDOWN) {
        OK(shutdown(fd, SHUT_WR));
        FAILS(send(fd, part, 1, MSG_NOSIGNAL), EPIPE);
    }
}

int main(void)
{
    char buffer[16];
    int go[2];

    begin(60);
    OK(pipe(go));
    for (way = CLOSE; way < WAYS; way++) {
        for (given = 0; given < 3; given += 2) {
            pid_t pid = child(50, transmit, go);
            /* Forked before our first PGM socket only the first time: the child makes its own. */
            int rx = listener((int)way * 8 + given);
            tell(go[1]);
            int fd = session(rx);
            EXPECT_TEXT(fd, "whole");
            if (given > 0)
                FAILS(recv(fd, buffer, sizeof(buffer), 0), ECONNRESET);
            EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
            CHILD_PASSED(pid);
            OK(close(fd));
            OK(close(rx));
        }
    }
    return 0;
}
