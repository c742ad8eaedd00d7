/* threads CHECKPOINT PICKLE: one session is run, and asked for texts, by several threads at the same time; each thread has a
 * last error of its own; messages of the log reach the callback that is set. */
#define _POSIX_C_SOURCE 200809L
#include "expect.h"
#include <pthread.h>

#define THREADS 4
#define RUNS 6

struct job { const rmnet_session *session; float value; const char *plan; };

/* A thread's input: every value is its own. Its output is compared with that of a first run. */
static void *work(void *of)
{
    struct job *job = of;
    size_t in = rmnet_session_input_len(job->session, 1), out = rmnet_session_output_len(job->session, 1);
    float *input = floats(in, job->value), *first = floats(out, 0.0f), *output = floats(out, 0.0f);
    char wanted[64];
    int run;
    EXPECT(strcmp(rmnet_last_error(), "") == 0);
    EXPECT(rmnet_session_run(job->session, input, in, first, out) == RMNET_OK);
    snprintf(wanted, sizeof wanted, "no such file %g", (double)job->value);
    for (run = 0; run < RUNS; run++) {
        rmnet_session *none = NULL;
        EXPECT(rmnet_session_run(job->session, input, in, output, out) == RMNET_OK);
        EXPECT(memcmp(first, output, out * sizeof *output) == 0);
        REFUSED(rmnet_session_open(wanted, NULL, &none), RMNET_ERROR_INPUT, wanted);
    }
    job->plan = rmnet_session_plan(job->session);
    free(input);
    free(first);
    free(output);
    return NULL;
}

static void count_message(int level, const char *target, const char *message, void *user)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock); /* called on any thread */
    EXPECT(level >= RMNET_LOG_ERROR && level <= RMNET_LOG_TRACE);
    if (level == RMNET_LOG_TRACE && strstr(target, "rmnet") && strstr(message, "pickle protocol"))
        ++*(int *)user;
    pthread_mutex_unlock(&lock);
}

/* A pickle, whatever is in it, is read with a message of the level RMNET_LOG_TRACE. */
static void read_pickle(const char *path)
{
    rmnet_options options = rmnet_options_default();
    rmnet_session *session = NULL;
    rmnet_status status;
    options.device = "cpu";
    status = rmnet_session_open(path, &options, &session);
    EXPECT(status == RMNET_OK || status == RMNET_ERROR_INPUT);
    rmnet_session_free(session);
}

static void log_callback(const char *pickle)
{
    int first = 0, second = 0;
    REFUSED(rmnet_set_log_callback(count_message, 6, &first), RMNET_ERROR_USAGE, "max_level");
    read_pickle(pickle);
    EXPECT(first == 0);
    EXPECT(rmnet_set_log_callback(count_message, RMNET_LOG_TRACE, &first) == RMNET_OK);
    read_pickle(pickle);
    EXPECT(first > 0);
    first = 0;
    EXPECT(rmnet_set_log_callback(count_message, RMNET_LOG_TRACE, &second) == RMNET_OK); /* takes the first one's place */
    read_pickle(pickle);
    EXPECT(first == 0 && second > 0);
    second = 0;
    EXPECT(rmnet_set_log_callback(count_message, RMNET_LOG_DEBUG, &second) == RMNET_OK);
    read_pickle(pickle);
    EXPECT(second == 0);
    EXPECT(rmnet_set_log_callback(NULL, 99, NULL) == RMNET_OK);
    read_pickle(pickle);
    EXPECT(rmnet_set_log_callback(count_message, RMNET_LOG_TRACE, &first) == RMNET_OK); /* and set again */
    read_pickle(pickle);
    EXPECT(first > 0 && second == 0);
    EXPECT(rmnet_set_log_callback(NULL, 0, NULL) == RMNET_OK);
}

int main(int argc, char **argv)
{
    rmnet_options options = rmnet_options_default();
    rmnet_session *session = NULL;
    rmnet_image *none = NULL;
    struct job jobs[THREADS];
    pthread_t threads[THREADS];
    int i;
    EXPECT(argc == 3);
    log_callback(argv[2]);
    EXPECT(rmnet_session_open(argv[1], NULL, &session) == RMNET_OK); /* NULL: the device is "auto" */
    rmnet_session_free(session);
    options.device = "cpu";
    EXPECT(rmnet_session_open(argv[1], &options, &session) == RMNET_OK);
    REFUSED(rmnet_image_open("of the main thread", 3, 0, &none), RMNET_ERROR_INPUT, "main thread");
    for (i = 0; i < THREADS; i++) {
        jobs[i].session = session;
        jobs[i].value = 0.1f * (float)(i + 1);
        EXPECT(pthread_create(&threads[i], NULL, work, &jobs[i]) == 0);
    }
    for (i = 0; i < THREADS; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0 && jobs[i].plan == jobs[0].plan);
    EXPECT(strstr(rmnet_last_error(), "main thread")); /* its own */
    rmnet_session_free(session);
    puts("in parallel");
    return 0;
}
