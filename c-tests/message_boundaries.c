/* Each send is one message and each recv returns one, whatever the sizes; the order is kept. */
/* c-tests: variants=fortify3,asan,valgrind */
#include "check.h"

enum { MESSAGES = 400 };

static size_t size_of(int i)
{
    static const size_t sizes[] = {1, 2, 63, 64, 1399, 1400, 1401, 1456, 1472, 1500, 4096, 9000, 65535};
    return sizes[(size_t)i % (sizeof(sizes) / sizeof(*sizes))];
}

static void transmit(void *arg)
{
    static char buffer[65536];
    int *go = arg;

    hear(go[0]);
    int fd = sender(0);
    for (int i = 0; i < MESSAGES; i++) {
        fill(buffer, size_of(i), (uint32_t)i);
        EQUAL(send(fd, buffer, size_of(i), 0), size_of(i));
    }
}

int main(void)
{
    static char buffer[200000];
    int go[2];

    begin(60);
    OK(pipe(go));
    pid_t pid = child(60, transmit, go);
    int rx = listener(0);
    tell(go[1]);
    int fd = session(rx);
    for (int i = 0; i < MESSAGES; i++) {
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), size_of(i));
        CHECK(matches(buffer, size_of(i), (uint32_t)i, 0));
    }
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    CHILD_PASSED(pid);
    return 0;
}
