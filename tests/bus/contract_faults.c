#include "contract.h"

const struct contract_case contract_faults[] = {{0}};
