/* A socket that got the number of a closed stderr: what is logged is no message. */
#include "check.h"

int main(void)
{
    char buffer[1000];

    begin(30);
    setenv("PGM_LOG", "debug", 1);
    int rx = pgm_socket(0), spare = (int)OK(dup(STDERR_FILENO));
    struct sockaddr_in a = group(0);
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 5));
    OK(close(STDERR_FILENO));
    int tx = pgm_socket(0);
    EQUAL(tx, STDERR_FILENO);
    OK(connect(tx, SA(a), sizeof(a)));
    OK(send(tx, "one", 3, 0));
    int fd = session(rx);
    sleep_ms(300);
    OK(send(tx, "two", 3, 0));
    OK(dup2(spare, STDERR_FILENO)); /* for our own complaints; it closes the sender, too */
    EXPECT_TEXT(fd, "one");
    EXPECT_TEXT(fd, "two");
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    return 0;
}
