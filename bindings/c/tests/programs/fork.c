/* fork CHECKPOINT: in a child of fork() every call is refused at once, instead of waiting for threads that are not there. A
 * process that was forked before its parent used the library may use it. */
#define _POSIX_C_SOURCE 200809L
#include "expect.h"
#include <sys/wait.h>
#include <unistd.h>

static rmnet_session *opened(const char *path)
{
    rmnet_options options = rmnet_options_default();
    rmnet_session *session = NULL;
    options.device = "cpu";
    EXPECT(rmnet_session_open(path, &options, &session) == RMNET_OK);
    return session;
}

static void run(const rmnet_session *session)
{
    size_t in = rmnet_session_input_len(session, 1), out = rmnet_session_output_len(session, 1);
    float *input = floats(in, 0.5f), *output = floats(out, 0.0f);
    EXPECT(in && out && rmnet_session_run(session, input, in, output, out) == RMNET_OK);
    free(input);
    free(output);
}

static void refused(const char *path, rmnet_session *session)
{
    rmnet_session *other = NULL;
    rmnet_adapters *adapters = NULL;
    float value = 0.0f;
    size_t shape[4];
    EXPECT(strstr(rmnet_last_error(), "no such image")); /* the parent's */
    EXPECT(rmnet_session_input_len(session, 1) == 0 && strstr(rmnet_last_error(), "forked"));
    EXPECT(rmnet_session_family(session) == NULL && rmnet_session_plan(session) == NULL);
    EXPECT(rmnet_session_run(session, &value, 1, &value, 1) == RMNET_ERROR_USAGE);
    EXPECT(rmnet_session_input_shape(session, shape) == RMNET_ERROR_USAGE);
    EXPECT(rmnet_session_open(path, NULL, &other) == RMNET_ERROR_USAGE && other == NULL);
    EXPECT(rmnet_adapters_list(&adapters) == RMNET_ERROR_USAGE && adapters == NULL);
    EXPECT(strstr(rmnet_last_error(), "forked"));
    rmnet_session_free(session); /* of the parent's threads */
    EXPECT(strcmp(rmnet_version(), RMNET_VERSION) == 0);
}

/* Waits for a child, which an alarm ends where it hangs. */
static void ended(pid_t child)
{
    int status = -1;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
    rmnet_session *session;
    rmnet_image *image = NULL;
    pid_t child;
    EXPECT(argc == 2);
    REFUSED(rmnet_image_open("no such image", 3, 0, &image), RMNET_ERROR_INPUT, "no such image"); /* starts no threads */
    child = fork();
    if (child == 0) {
        alarm(120);
        session = opened(argv[1]);
        run(session);
        rmnet_session_free(session);
        _exit(0);
    }
    ended(child);
    session = opened(argv[1]);
    run(session);
    child = fork();
    if (child == 0) {
        alarm(60);
        refused(argv[1], session);
        _exit(0);
    }
    ended(child);
    run(session); /* the parent goes on */
    rmnet_session_free(session);
    puts("forked");
    return 0;
}
