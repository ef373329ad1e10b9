#include "contract.h"

const struct contract_case contract_links[] = {{0}};
