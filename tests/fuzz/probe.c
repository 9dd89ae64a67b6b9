/* SPDX-License-Identifier: Apache-2.0 */
/* Links where the compiler has libFuzzer and the sanitizers. */
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return data && size ? 0 : -1;
}
