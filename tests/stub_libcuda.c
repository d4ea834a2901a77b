/* A libcuda that does nothing but print how a kernel was launched: what the real cuda-python makes of our arguments. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuModuleLoadData(void **module, const void *image) { *module = (void *)1; (void)image; return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name)
{
    *function = (void *)2;
    printf("%s", name);
    return module != (void *)1;
}
int cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned wide, unsigned tall, unsigned deep,
                   unsigned shared, void *stream, void **p, void **extra)
{
    static const char kinds[] = "piilliiipiiiiiiii";
    printf(" %u %u %u %u %u %u %u %lld", x, y, z, wide, tall, deep, shared, (long long)stream);
    for (int i = 0; kinds[i]; i++)
        printf(" %lld", kinds[i] == 'i' ? *(int *)p[i] : *(long long *)p[i]);
    fflush(stdout);
    return function != (void *)2 || extra;
}
static int absent(void) { return 999; }
int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *status)
{
    void *here = dlsym(RTLD_DEFAULT, name);
    (void)version, (void)flags;
    *found = here ? here : (void *)absent;
    if (status)
        *status = 0;
    return 0;
}
int cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags)
{
    return cuGetProcAddress_v2(name, found, version, flags, 0);
}
