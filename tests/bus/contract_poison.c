#include "contract.h"

const struct contract_case contract_poison[] = {{0}};
