/* Groups do not mix: same port on another group, same group on another port: nothing comes through. */
#include "check.h"

static int receiver(const struct sockaddr_in *a)
{
    int fd = pgm_socket(0);
    OK(bind(fd, SA(*a), sizeof(*a)));
    OK(listen(fd, 5));
    return fd;
}

static int source(const struct sockaddr_in *a)
{
    int fd = pgm_socket(0);
    OK(connect(fd, SA(*a), sizeof(*a)));
    return fd;
}

static void stranger(void *arg)
{
    int *pipes = arg;
    struct sockaddr_in here = group(0), other_group = group(1), other_port = group(2);

    other_group.sin_port = here.sin_port;
    other_port.sin_addr = here.sin_addr;
    int a = receiver(&other_group), b = receiver(&other_port);
    tell(pipes[1]);
    EQUAL(ready(a, POLLIN, 1500), 0);
    EQUAL(ready(b, POLLIN, 0), 0);
}

int main(void)
{
    struct sockaddr_in here = group(0), other_group = group(1), other_port = group(2);
    int pipes[2];

    other_group.sin_port = here.sin_port;
    other_port.sin_addr = here.sin_addr;
    begin(30);
    OK(pipe(pipes));
    /* Another process on this host joined the other group: its packets are not ours, nor ours its. */
    pid_t pid = child(30, stranger, pipes);
    hear(pipes[0]);
    int rx = receiver(&here), rx_group = receiver(&other_group), rx_port = receiver(&other_port);
    int tx = source(&here);
    send_text(tx, "here");
    int fd = session(rx);
    EXPECT_TEXT(fd, "here");
    EQUAL(ready(rx_group, POLLIN, 500), 0);
    EQUAL(ready(rx_port, POLLIN, 0), 0);
    CHILD_PASSED(pid);

    /* And each of them works. */
    int tx_group = source(&other_group), tx_port = source(&other_port);
    send_text(tx_group, "group");
    send_text(tx_port, "port");
    int fd_group = session(rx_group), fd_port = session(rx_port);
    EXPECT_TEXT(fd_group, "group");
    EXPECT_TEXT(fd_port, "port");
    EQUAL(ready(fd, POLLIN, 200), 0);
    EQUAL(ready(rx, POLLIN, 0), 0);
    return 0;
}
