/* Few descriptors: nothing is lost for want of one. Descriptors the program does not know are not its own. */
#include "check.h"
#include <sys/resource.h>

static int used[4096], count;

static void use_up(void)
{
    int fd;

    for (count = 0; count < 4096 && (fd = dup(2)) != -1; count++)
        used[count] = fd;
    EQUAL(errno, EMFILE);
}

static void free_one(void)
{
    OK(close(used[--count]));
}

static void free_all(void)
{
    while (count > 0)
        free_one();
}

int main(void)
{
    static char message[300000], buffer[300000];
    struct rlimit limit = {64, 64};
    int inherited[64];

    begin(40);
    for (int i = 3; i < 64; i++)
        inherited[i] = fcntl(i, F_GETFD) != -1;
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    int rx = listener(0), tx = sender(0);
    send_text(tx, "waiting");
    EQUAL(ready(rx, POLLIN, 5000), POLLIN);
    sleep_ms(100);
    use_up();
    FAILS(accept(rx, NULL, NULL), EMFILE);
    FAILS(socket(AF_INET, SOCK_RDM, protocol()), EMFILE);
    EQUAL(ready(rx, POLLIN, 0), POLLIN);
    free_one();
    int fd = (int)OK(accept(rx, NULL, NULL));
    EXPECT_TEXT(fd, "waiting");

    /* A large message travels as a file: without a descriptor it waits. */
    free_all();
    fill(message, sizeof(message), 3);
    EQUAL(send(tx, message, sizeof(message), 0), sizeof(message));
    EQUAL(ready(fd, POLLIN, 5000), POLLIN);
    use_up();
    FAILS(send(tx, message, sizeof(message), 0), EMFILE);
    FAILS(recv(fd, buffer, sizeof(buffer), 0), EMFILE);
    EQUAL(ready(fd, POLLIN, 0), POLLIN);
    free_all();
    EQUAL(recv(fd, buffer, 1000, 0), 1000);
    EQUAL(ready(fd, POLLIN, 0), POLLIN);
    EQUAL(recv(fd, buffer + 1000, sizeof(buffer), 0), sizeof(message) - 1000);
    CHECK(matches(buffer, sizeof(message), 3, 0));
    EQUAL(ready(fd, POLLIN, 0), 0);

    /* Of 64 numbers some are in use that we did not open: hands off. */
    int foreign = 0;
    for (int i = 3; i < 64; i++) {
        if (inherited[i] || i == rx || i == tx || i == fd)
            continue;
        if (fcntl(i, F_GETFD) != -1)
            FAIL("descriptor %d is open", i);
        EQUAL(errno, EBADF);
        if (dup2(2, i) == -1) {
            EQUAL(errno, EBADF);
            foreign++;
        } else {
            OK(close(i));
        }
        FAILS(close(i), EBADF);
    }
    CHECK(foreign > 0);
    send_text(tx, "still alive");
    EXPECT_TEXT(fd, "still alive");
    return 0;
}
