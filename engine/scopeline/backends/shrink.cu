// Shrink: a cut of a YUV picture, averaged by area to (out_height, out_width, 3) uint8 RGB, in one pass.
//
// The averages are exact: everything is counted in whole numbers, a source pixel weighing as much as the part of it that an
// output pixel covers, in units of 1/(out_width * out_height) of a pixel. From the averages on it does what FFmpeg's scaler does
// on x86, because that is what the networks were trained on: eighths of a grey level, one chroma sample for two pixels side
// by side, and for limited range every product rounded down by itself (1.1 to 1.7 grey levels darker than rounding at the end).
//
// One thread makes two pixels side by side. The planes lie packed at `planes`: luma first, then chroma.

// Average of the rectangle of a plane that belongs to output pixel (column, row) of columns x rows, in eighths, rounded: up
// from a half with is_full, else less half an eighth, rounded down.
static __device__ int eighths(const unsigned char *plane, int step, int width, int height,
                              int column, int columns, int row, int rows, int is_full)
{
    const long long left = (long long)column * width, right = left + width;
    const long long top = (long long)row * height, bottom = top + height;
    unsigned long long sum = 0;
    for (int y = (int)(top / rows); (long long)y * rows < bottom; y++) {
        const long long above = (long long)y * rows, below = above + rows;
        const long long tall = (below < bottom ? below : bottom) - (above > top ? above : top);
        const unsigned char *line = plane + (long long)y * width * step;
        unsigned long long along = 0;
        for (int x = (int)(left / columns); (long long)x * columns < right; x++) {
            const long long before = (long long)x * columns, behind = before + columns;
            const long long wide = (behind < right ? behind : right) - (before > left ? before : left);
            along += (unsigned long long)wide * line[x * step];
        }
        sum += (unsigned long long)tall * along;
    }
    const unsigned long long area = (unsigned long long)width * height;
    return (int)((16 * sum + area) / (2 * area)) - (is_full ? 0 : 1);
}

static __device__ unsigned char clipped(int value)
{
    return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
}

extern "C" __global__ void shrink(
    const unsigned char *planes, int width, int height,  // of the cut in pixels; a line of luma has `width` bytes
    long long blue_at, long long red_at,                 // where the chroma planes begin, in bytes from `planes`
    int chroma_step, int chroma_width, int chroma_height,  // bytes from sample to sample (2 where they are interleaved)
    unsigned char *out, int out_width, int out_height,   // out_width is even
    int of_luma, int of_red, int of_blue, int green_of_blue, int green_of_red,  // 1/8192 per unit; green's are negative
    int is_full)                                         // whether luma uses 0 to 255 instead of 16 to 235
{
    const int pair = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const int pairs = out_width / 2;
    if (pair >= pairs || row >= out_height)
        return;
    const int blue = eighths(planes + blue_at, chroma_step, chroma_width, chroma_height,
                             pair, pairs, row, out_height, is_full) - 1024;
    const int red = eighths(planes + red_at, chroma_step, chroma_width, chroma_height,
                            pair, pairs, row, out_height, is_full) - 1024;
    for (int side = 0; side < 2; side++) {
        const int column = 2 * pair + side;
        const int luma = eighths(planes, 1, width, height, column, out_width, row, out_height, is_full)
                         - (is_full ? 0 : 128);
        unsigned char *pixel = out + 3 * ((long long)row * out_width + column);
        if (is_full) {
            pixel[0] = clipped((luma * of_luma + red * of_red + 32768) >> 16);
            pixel[1] = clipped((luma * of_luma + blue * green_of_blue + red * green_of_red + 32768) >> 16);
            pixel[2] = clipped((luma * of_luma + blue * of_blue + 32768) >> 16);
        } else {
            const int grey = luma * of_luma >> 16;
            pixel[0] = clipped(grey + (red * of_red >> 16));
            pixel[1] = clipped(grey + (blue * green_of_blue >> 16) + (red * green_of_red >> 16));
            pixel[2] = clipped(grey + (blue * of_blue >> 16));
        }
    }
}
