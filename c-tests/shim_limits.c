/* Few descriptors: nothing is lost for want of one, and sixteen are enough. */
#include "check.h"
#include <sys/resource.h>

static int used[4096], count, inherited;
static char message[300000], buffer[300000];

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

/* A sender and a receiver, and large messages, within sixteen descriptors. */
static void sixteen(void *arg)
{
    struct rlimit limit = {16, 16};

    (void)arg;
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    int rx = listener(1), tx = sender(1);
    send_text(tx, "one");
    int fd = session(rx);
    EXPECT_TEXT(fd, "one");
    for (uint32_t i = 0; i < 20; i++) {
        fill(message, sizeof(message), i);
        EQUAL(send(tx, message, sizeof(message), 0), sizeof(message));
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), sizeof(message));
        CHECK(matches(buffer, sizeof(message), i, 0));
    }
    /* What is left is the program's, but for one. */
    use_up();
    CHECK(count >= 16 - 3 - 3 - 1 - inherited);
    free_all();
}

int main(void)
{
    struct rlimit limit = {64, 64};

    begin(40);
    for (int i = 3; i < 64; i++)
        inherited += fcntl(i, F_GETFD) != -1;
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

    send_text(tx, "still alive");
    EXPECT_TEXT(fd, "still alive");
    OK(close(rx));
    OK(close(tx));
    OK(close(fd));
    CHILD_PASSED(child(20, sixteen, NULL));
    return 0;
}
