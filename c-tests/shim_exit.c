/* A sender that ends right after its last send, by whichever way: the receiver has every octet. */
#include "check.h"

enum { MESSAGES = 800, SIZE = 1300 };

static void transmit(int way)
{
    char message[SIZE];
    int fd = sender(way);

    for (uint32_t i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, i);
        EQUAL(send(fd, message, SIZE, 0), SIZE);
    }
    switch (way) {
    case 0: exit(0);
    case 1: _exit(0);
    case 2: quick_exit(0);
    case 3: _Exit(0);
    case 4: execl("/bin/true", "true", NULL); break;
    case 5: {
        char *args[] = {(char *)"true", NULL};
        execv("/bin/true", args);
        break;
    }
    case 6: {
        char *args[] = {(char *)"true", NULL};
        execvp("true", args);
        break;
    }
    case 7:
        shutdown(fd, SHUT_WR);
        _exit(0);
    case 8:
        close(fd);
        exit(0);
    }
    FAIL("way %d", way);
}

int main(void)
{
    char message[SIZE + 1];

    begin(90);
    for (int way = 0; way < 9; way++) {
        /* execl reaches the kernel by a call inside libc. */
        if (way == 4)
            continue;
        int go[2];
        OK(pipe(go));
        pid_t pid = (pid_t)OK(fork());
        if (pid == 0) {
            begin(30);
            hear(go[0]);
            transmit(way);
        }
        int rx = listener(way);
        tell(go[1]);
        int fd = session(rx);
        for (uint32_t i = 0; i < MESSAGES; i++) {
            ssize_t n = recv(fd, message, sizeof(message), 0);
            if (n != SIZE)
                FAIL("way %d, message %u: %zd octets", way, i, n);
            CHECK(matches(message, SIZE, i, 0));
        }
        EQUAL(recv(fd, message, sizeof(message), 0), 0);
        CHILD_PASSED(pid);
        OK(close(fd));
        OK(close(rx));
    }
    return 0;
}
